#include "launcher/link/link_server.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "launcher/link/frame.h"
#include "launcher/link/link_connection.h"

namespace cohort {
namespace {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;
using boost::system::error_code;

// A gateway that does not read is given up with so much unsent.
constexpr size_t kMaxUnsentBytes = size_t{256} << 20;
constexpr std::chrono::milliseconds kFlushPatience{500};

std::string make_private_path() {
  const char* tmp = std::getenv("TMPDIR");
  std::string directory = std::string(tmp != nullptr && *tmp != 0 ? tmp : "/tmp") + "/cohort-XXXXXX";
  if (mkdtemp(directory.data()) == nullptr) throw std::runtime_error("engine link: " + directory + ": cannot be made");
  return directory + "/engine.sock";
}

// A socket file that nobody listens at any more, as a killed leader leaves, is taken away.
void remove_stale(asio::io_context& io, const std::string& path) {
  struct stat facts {};
  if (lstat(path.c_str(), &facts) != 0) return;
  if (!S_ISSOCK(facts.st_mode)) throw std::runtime_error("engine link: " + path + ": is there already, and no socket");
  Protocol::socket probe(io);
  error_code error;
  probe.connect(Protocol::endpoint(path), error);
  if (!error) throw std::runtime_error("engine link: " + path + ": another engine listens there");
  unlink(path.c_str());
}

bool is_same_user(Protocol::socket& socket) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid() || peer.uid == 0;
}

}  // namespace

class LinkServer::Impl {
 public:
  explicit Impl(const std::string& path)
      : is_private_(path.empty()), path_(path.empty() ? make_private_path() : path), acceptor_(io_) {
    try {
      remove_stale(io_, path_);
      const Protocol::endpoint endpoint(path_);
      acceptor_.open();
      const mode_t mask = umask(0177);  // nobody else's from the beginning
      error_code error;
      acceptor_.bind(endpoint, error);
      umask(mask);
      if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
      if (error) throw std::runtime_error("engine link: " + path_ + ": " + error.message());
    } catch (const boost::system::system_error& error) {  // a path that is too long for an address, for one
      throw std::runtime_error("engine link: " + path_ + ": " + error.code().message());
    }
    accept();
    thread_ = std::thread([this] { io_.run(); });
  }

  ~Impl() {
    asio::post(io_, [this] { close_when_sent(); });
    thread_.join();
    remove_files();
  }

  const std::string& path() const { return path_; }

  std::vector<Received> receive(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    if (patience.count() > 0) arrived_.wait_for(lock, patience, [this] { return !received_.empty(); });
    return std::exchange(received_, {});
  }

  void send(int64_t connection, const wire::FromEngine& message) {
    asio::post(io_, [this, connection, bytes = frame(message)]() mutable {
      const auto found = connections_.find(connection);
      if (found != connections_.end()) write(connection, found->second, std::move(bytes));
    });
  }

  void broadcast(const wire::FromEngine& message, bool greets) {
    asio::post(io_, [this, greets, bytes = frame(message)] {
      if (greets) greeting_ = bytes;
      std::vector<int64_t> greeted;  // a write that fails ends a connection
      for (const auto& [id, connection] : connections_) {
        if (connection.has_greeted) greeted.push_back(id);
      }
      for (const int64_t id : greeted) {
        const auto found = connections_.find(id);
        if (found != connections_.end()) write(id, found->second, bytes);
      }
    });
  }

 private:
  struct Connection {
    std::shared_ptr<LinkConnection> link;
    bool has_greeted = false;
  };

  void accept() {
    acceptor_.async_accept([this](error_code error, Protocol::socket socket) {
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) return;
      if (error) {  // out of descriptors, say: not for ever
        spdlog::warn("engine link: {}", error.message());
        retry_.expires_after(std::chrono::milliseconds(100));
        retry_.async_wait([this](error_code stopped) {
          if (!stopped) accept();
        });
        return;
      }
      if (is_same_user(socket)) {
        add(std::move(socket));
      } else {
        spdlog::warn("engine link: a process of another user was turned away");
      }
      accept();
    });
  }

  void add(Protocol::socket socket) {
    const int64_t id = next_connection_++;
    LinkConnection::Handlers handlers{.on_bytes = [this, id](FrameReader& reader) { take_messages(id, reader); },
                                      .on_sent =
                                          [this, id] {
                                            if (is_closing_) end(id, "");
                                          },
                                      .on_end = [this, id](const std::string& why) { end(id, why); }};
    const auto link = std::make_shared<LinkConnection>(std::move(socket), std::move(handlers));
    connections_.emplace(id, Connection{.link = link});
    link->start();
  }

  void take_messages(int64_t id, FrameReader& reader) {
    while (auto message = reader.next_message<wire::ToEngine>()) {
      const auto found = connections_.find(id);
      if (found == connections_.end()) return;  // a write has ended it
      Connection& connection = found->second;
      if (message->has_hello()) {
        if (message->hello().version() != kLinkVersion) throw std::runtime_error("another version of the engine link");
        connection.has_greeted = true;
        if (is_private_) {  // nothing is left behind then, however this process ends
          acceptor_.close();
          remove_files();
        }
        if (!greeting_.empty()) write(id, connection, greeting_);
        continue;
      }
      if (!connection.has_greeted) throw std::runtime_error("no hello");
      deliver({id, *std::move(message)});
    }
  }

  void remove_files() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
    if (is_private_) std::filesystem::remove(std::filesystem::path(path_).parent_path(), ignored);
  }

  void deliver(Received received) {
    {
      const std::lock_guard lock(mutex_);
      received_.push_back(std::move(received));
    }
    arrived_.notify_one();
  }

  void write(int64_t id, const Connection& connection, std::string bytes) {
    connection.link->send(std::move(bytes));
    if (connection.link->num_unsent_bytes() > kMaxUnsentBytes) end(id, "it does not read");
  }

  void end(int64_t id, const std::string& why) {
    const auto found = connections_.find(id);
    if (!why.empty()) spdlog::warn("engine link: disconnected: {}", why);
    const Connection connection = std::move(found->second);
    connections_.erase(found);
    connection.link->close();
    if (connection.has_greeted) deliver({id, std::nullopt});
    if (is_closing_ && connections_.empty()) io_.stop();
  }

  void close_when_sent() {
    is_closing_ = true;
    acceptor_.close();
    std::vector<int64_t> idle;
    for (const auto& [id, connection] : connections_) {
      if (connection.link->num_unsent_bytes() == 0) idle.push_back(id);
    }
    for (const int64_t id : idle) end(id, "");
    if (connections_.empty()) return io_.stop();
    retry_.expires_after(kFlushPatience);
    retry_.async_wait([this](error_code) { io_.stop(); });
  }

  const bool is_private_;
  const std::string path_;

  // Of the thread.
  asio::io_context io_;
  Protocol::acceptor acceptor_;
  asio::steady_timer retry_{io_};
  std::map<int64_t, Connection> connections_;
  int64_t next_connection_ = 0;
  std::string greeting_;  // as it is sent
  bool is_closing_ = false;

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Received> received_;  // guarded by mutex_

  std::thread thread_;
};

LinkServer::LinkServer(const std::string& path) : impl_(std::make_unique<Impl>(path)) {}
LinkServer::~LinkServer() = default;
const std::string& LinkServer::path() const { return impl_->path(); }
std::vector<LinkServer::Received> LinkServer::receive(std::chrono::milliseconds patience) {
  return impl_->receive(patience);
}
void LinkServer::send(int64_t connection, const wire::FromEngine& message) { impl_->send(connection, message); }
void LinkServer::broadcast(const wire::FromEngine& message) { impl_->broadcast(message, /*greets=*/false); }
void LinkServer::announce(const wire::FromEngine& message) { impl_->broadcast(message, /*greets=*/true); }

}  // namespace cohort
