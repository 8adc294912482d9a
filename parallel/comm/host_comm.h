// HostComm: control messages between the processes of a job, on the host: plans, results, agreements, heartbeats.
//
// Messages from one rank to another arrive whole and in order. A HostComm is used by one thread at a time; different
// ones by different threads at once.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cohort {

class DeviceComm;

class HostComm {
 public:
  virtual ~HostComm() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Returns at once; the message is copied. Throws what the transport reports.
  virtual void send(int peer, std::string_view message) = 0;
  // The next message of `peer`, or nothing if none is there yet.
  virtual std::optional<std::string> try_receive(int peer) = 0;
  // Waits for it.
  virtual std::string receive(int peer) = 0;
  // How long a wait keeps its core, so that it ends within microseconds of the message; then it looks twice a
  // millisecond. Processes that compute on the cores want it short, as it is at first; those that wait for devices do
  // not. Threads of one process need none.
  virtual void set_patience(std::chrono::milliseconds) {}

  // A communicator of the ranks that give the same color, in the order of their ranks here. Every rank takes part.
  virtual std::unique_ptr<HostComm> split(int color) = 0;

  // A communicator of the same ranks for tensors in host memory. Every rank takes part.
  virtual std::unique_ptr<DeviceComm> make_cpu_comm(std::string name) = 0;
};

// Collectives over send and receive, through rank 0: for bring-up, where a message more does not matter.

// Every rank's message, by rank.
std::vector<std::string> all_gather(HostComm& comm, std::string_view message);
// The message of rank `root`.
std::string broadcast(HostComm& comm, std::string message, int root);
// Returns when every rank has called it.
void barrier(HostComm& comm);

}  // namespace cohort
