// HttpConnection: one client of an HttpServer. HttpShared: what the connections of a server have in common.
//
// One thread, the server's.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "launcher/gateway/http_response.h"
#include "launcher/gateway/http_router.h"
#include "launcher/gateway/http_server.h"

namespace cohort {

class HttpConnection;

struct HttpShared : std::enable_shared_from_this<HttpShared> {
  HttpShared(boost::asio::io_context& the_io, HttpServerOptions the_options, std::vector<HttpRoute> routes);

  // Calls flush() of it from the event loop, soon and once.
  void flush_later(std::weak_ptr<HttpConnection> connection);
  // The time as http_date() writes it.
  const std::string& date();

  boost::asio::io_context& io;
  const HttpServerOptions options;
  const HttpRouter router;
  std::unordered_map<HttpConnection*, std::shared_ptr<HttpConnection>> connections;  // all that are open
  int64_t num_refused = 0;                                                           // of them, beyond the limit
  int64_t num_streams = 0;
  int64_t num_body_bytes = 0;  // of requests that are read or wait for their answer
  bool is_draining = false;
  bool is_closed = false;     // the server is gone
  std::vector<char> scratch;  // what a read has brought, until the read's end

 private:
  // Weak, since connections hold this: what is left here when the event loop stops is never flushed.
  std::vector<std::weak_ptr<HttpConnection>> to_flush_;
  std::time_t date_time_ = -1;
  std::string date_;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Clock = std::chrono::steady_clock;

  // It is in shared->connections from start() or refuse() until it closes.
  HttpConnection(std::shared_ptr<HttpShared> shared, boost::asio::ip::tcp::socket socket);

  void start();
  // Answers 503 whatever the client sends, and closes.
  void refuse();
  // At once. Whoever waits for the client is told that it is gone.
  void close();

  // Sends what waits and can be sent.
  void flush();
  // A request waits for its answer, or for the rest of it.
  bool is_answering() const { return state_ == State::kAnswering || state_ == State::kSending; }

  // What takes longer than it may.
  bool is_late(Clock::time_point now) const { return now >= deadline_; }
  // Its client has gone, which is not noticed by reading since it has sent more than is read ahead.
  bool has_left();
  // Requires is_late() or has_left(), or that it has closed since.
  void end_late();

 private:
  class Exchange;
  enum class State {
    kReading,    // a request, or idle
    kAnswering,  // a request is with its handler
    kSending,    // its answer is complete and on its way
    kLingering,  // the last answer is sent; what the client still sends is read and dropped
    kClosed,
  };

  void open();
  size_t num_wanted_bytes() const;
  void wait_to_read();
  void read();
  void take(std::string_view bytes);
  void take_eof();
  size_t parse(std::string_view bytes);  // returns how many were taken
  void parse_waiting();
  void admit();
  void dispatch();
  void refuse_request(int status, std::string_view message);
  void count_body();
  void forget_body();

  // For the exchange.
  void respond(const HttpResponse& response);
  void begin_stream(std::string content_type);
  void write(std::string_view data);
  void end_stream();
  void abandon();

  std::string head(const HttpResponse& response, HttpFraming framing);
  size_t num_waiting_bytes() const { return output_.size() - num_sent_; }
  void flush_later();
  void send_waiting();
  void wait_to_write();
  void finish_answer();
  void cut();
  void set_deadline(int64_t timeout_ms);

  std::shared_ptr<HttpShared> shared_;
  boost::asio::ip::tcp::socket socket_;
  State state_ = State::kReading;
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point linger_end_;  // of kLingering, whatever comes

  std::string input_;                   // bytes that no parser has taken yet
  std::unique_ptr<HttpParser> parser_;  // of the request that is being read
  const HttpRoute* route_ = nullptr;    // of it, once its header is read
  std::string tenant_;
  std::string request_id_;
  Exchange* exchange_ = nullptr;  // that waits for the answer
  int64_t num_body_bytes_ = 0;    // counted in shared_

  std::string output_;  // not sent from num_sent_ on
  size_t num_sent_ = 0;
  HttpFraming framing_ = HttpFraming::kLength;  // of the stream that is being written
  bool is_streaming_ = false;
  bool is_head_request_ = false;
  bool takes_chunks_ = true;
  bool keeps_alive_ = true;
  bool waits_to_read_ = false;
  bool waits_to_write_ = false;
  bool will_flush_ = false;
  bool must_close_ = false;  // at the next flush()
  bool has_seen_eof_ = false;
  bool was_refused_ = false;
};

}  // namespace cohort
