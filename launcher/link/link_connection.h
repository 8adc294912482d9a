// LinkConnection: one end of an engine link that is connected: reads, and sends messages one after another.
//
// One thread, that of the socket's context, on which the handlers are called.
#pragma once

#include <boost/asio/local/stream_protocol.hpp>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launcher/link/frame.h"

namespace cohort {

class LinkConnection : public std::enable_shared_from_this<LinkConnection> {
 public:
  using Socket = boost::asio::local::stream_protocol::socket;

  struct Handlers {
    // Bytes have come: takes what messages there are. A std::runtime_error from it ends the connection.
    std::function<void(FrameReader& reader)> on_bytes;
    // Everything is sent. May be empty.
    std::function<void()> on_sent;
    // Once, unless close() comes before: the other end has gone, `why` being empty, or has sent what is no message.
    std::function<void(const std::string& why)> on_end;
  };

  LinkConnection(Socket socket, Handlers handlers);

  // Begins to read.
  void start();
  // Requires a message with its length before it (frame()).
  void send(std::string framed);
  size_t num_unsent_bytes() const { return num_unsent_bytes_; }
  // No handler is called any more.
  void close();

 private:
  void read();
  void write_next();
  void end(const std::string& why);

  Socket socket_;
  const Handlers handlers_;
  std::vector<char> buffer_;
  FrameReader reader_;
  std::deque<std::string> unsent_;  // the first is being sent
  size_t num_unsent_bytes_ = 0;
  bool is_closed_ = false;
};

}  // namespace cohort
