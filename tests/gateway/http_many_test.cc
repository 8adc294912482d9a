// HttpServer with thousands of streams, and without descriptors.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "launcher/gateway/http_server.h"
#include "tests/gateway/http_testing.h"

namespace cohort {
namespace {

using test::get;
using test::HttpTestClient;
using test::HttpTestServer;

using Clock = std::chrono::steady_clock;
using Exchange = std::shared_ptr<HttpExchange>;

// Sets how many descriptors the process may have, until its end.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t wanted) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit now = {.rlim_cur = wanted, .rlim_max = before_.rlim_max};
    is_set_ = wanted <= before_.rlim_max && ::setrlimit(RLIMIT_NOFILE, &now) == 0;
  }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

  bool is_set() const { return is_set_; }
  rlim_t hard() const { return before_.rlim_max; }

 private:
  rlimit before_ = {};
  bool is_set_ = false;
};

int64_t resident_bytes() {
  int64_t num_pages = 0;
  std::ifstream("/proc/self/statm") >> num_pages >> num_pages;
  return num_pages * ::sysconf(_SC_PAGESIZE);
}

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

struct Streams {
  std::vector<Exchange> exchanges;

  HttpRoute route() {
    return {"GET", "/stream", [this](const Exchange& exchange) {
              exchange->begin_stream("text/event-stream");
              exchanges.push_back(exchange);
            }};
  }

  void write(const std::string& event) {
    for (const Exchange& exchange : exchanges) exchange->write(event);
  }

  void end() {
    for (const Exchange& exchange : exchanges) exchange->end_stream();
    exchanges.clear();
  }
};

// Clients in a process of their own, so that what the server takes can be told from what they take. It says a number
// when it is asked to; made before there are threads.
class ClientProcess {
 public:
  using Say = std::function<void(int number)>;
  using Hear = std::function<int()>;

  explicit ClientProcess(const std::function<void(const Say& say, const Hear& hear)>& work) {
    std::array<int, 2> ends = {};
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) != 0) throw std::runtime_error("socketpair");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[0]);
      fd_ = ends[1];
      try {
        work([this](int number) { say(number); }, [this] { return hear(); });
      } catch (const std::exception& error) {
        std::fprintf(stderr, "clients: %s\n", error.what());
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    fd_ = ends[0];
  }
  ClientProcess(const ClientProcess&) = delete;
  ClientProcess& operator=(const ClientProcess&) = delete;
  ~ClientProcess() {
    ::close(fd_);
    ::waitpid(pid_, nullptr, 0);
  }

  void say(int number) const { (void)::send(fd_, &number, sizeof(number), MSG_NOSIGNAL); }
  // -1: the other has ended.
  int hear() const {
    int number = 0;
    return ::recv(fd_, &number, sizeof(number), MSG_WAITALL) == sizeof(number) ? number : -1;
  }

 private:
  pid_t pid_ = 0;
  int fd_ = -1;
};

std::string event(int i) { return "data: {\"index\": 0, \"text\": \" token " + std::to_string(i) + "\"}\n\n"; }

// Opens streams when it hears the port, says how many; then says on how many all events came, and the end.
void read_streams(int num_streams, int num_events, const ClientProcess::Say& say, const ClientProcess::Hear& hear) {
  std::vector<HttpTestClient> clients;
  const int port = hear();
  for (int i = 0; i < num_streams; ++i) {
    clients.emplace_back(port);
    clients.back().send(get("/stream", "Authorization: Bearer some-key\r\nUser-Agent: a client\r\n"));
  }
  say(num_streams);
  std::vector<bool> is_right;
  for (HttpTestClient& client : clients) is_right.push_back(client.receive_head().status == 200);
  for (int i = 0; i <= num_events; ++i) {
    for (size_t c = 0; c < clients.size(); ++c) {
      const std::string expected = i == num_events ? "" : event(i);
      if (is_right[c]) is_right[c] = clients[c].receive_chunk() == expected;
    }
  }
  say(static_cast<int>(std::count(is_right.begin(), is_right.end(), true)));
}

// Holds that many streams, sends them events and checks what comes; returns the bytes a stream takes before the first.
// They are fewer after other tests in the same process, whose memory is used again.
void serve_streams(int num_streams, int num_events, int64_t& bytes_per_stream) {
  ClientProcess clients([&](const ClientProcess::Say& say, const ClientProcess::Hear& hear) {
    read_streams(num_streams, num_events, say, hear);
  });
  Streams streams;
  HttpTestServer server({}, {streams.route()});
  const int64_t before = resident_bytes();
  clients.say(server.port());
  ASSERT_EQ(clients.hear(), num_streams);
  ASSERT_TRUE(server.comes_to([&](HttpServer& it) { return it.num_streams() == num_streams; }));
  bytes_per_stream = (resident_bytes() - before) / num_streams;

  const auto begin = Clock::now();
  for (int i = 0; i < num_events; ++i) {
    server.run([&](HttpServer&) { streams.write(event(i)); });
  }
  server.run([&](HttpServer&) { streams.end(); });
  ASSERT_EQ(clients.hear(), num_streams);
  std::printf("%d streams: %.1f MB, %.2f KB each, when idle; %.1f MB after %.0f events a second\n", num_streams,
              static_cast<double>(bytes_per_stream * num_streams) / 1e6, static_cast<double>(bytes_per_stream) / 1e3,
              static_cast<double>(resident_bytes() - before) / 1e6,
              num_streams * static_cast<double>(num_events) / seconds_since(begin));
  EXPECT_TRUE(server.comes_to([](HttpServer& it) { return it.num_connections() == 0; }));
}

TEST(HttpMany, IdleStreamsAreHeld) {
  constexpr int kNumStreams = 10'000;
  const DescriptorLimit limit(kNumStreams + 200);
  if (!limit.is_set()) {
    GTEST_SKIP() << "a process may have " << limit.hard() << " descriptors, expected " << kNumStreams + 200;
  }
  int64_t bytes_per_stream = 0;
  serve_streams(kNumStreams, 1, bytes_per_stream);
  RecordProperty("bytes_per_stream", std::to_string(bytes_per_stream));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // these have memory of their own
  EXPECT_LT(bytes_per_stream, 4096);
#endif
}

TEST(HttpMany, BusyStreamsGetEveryEvent) {
  constexpr int kNumStreams = 1'000;
  const DescriptorLimit limit(kNumStreams + 200);
  if (!limit.is_set()) {
    GTEST_SKIP() << "a process may have " << limit.hard() << " descriptors, expected " << kNumStreams + 200;
  }
  int64_t bytes_per_stream = 0;
  serve_streams(kNumStreams, 200, bytes_per_stream);
}

TEST(HttpMany, WithoutDescriptorsItWaitsForSome) {
  Streams streams;
  HttpTestServer server({}, {streams.route(), {"GET", "/", [](const Exchange& exchange) {
                                                 exchange->respond({.status = 200, .body = "{}"});
                                               }}});
  HttpTestClient known(server.port());
  EXPECT_EQ(known.ask(get("/")).status, 200);

  std::optional<DescriptorLimit> limit(200);
  ASSERT_TRUE(limit->is_set());
  std::vector<int> taken;
  for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) taken.push_back(fd);
  ASSERT_FALSE(taken.empty());
  // One for the client, and then the server has none: it does not look for any before somebody connects.
  ::close(taken.back());
  taken.pop_back();
  HttpTestClient waiting(server.port());
  waiting.send(get("/"));
  EXPECT_FALSE(waiting.is_closed(std::chrono::milliseconds(300)));
  EXPECT_EQ(known.ask(get("/")).status, 200);
  for (const int fd : taken) ::close(fd);
  limit.reset();
  EXPECT_EQ(waiting.receive().status, 200);
}

}  // namespace
}  // namespace cohort
