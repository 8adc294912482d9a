#include "launcher/link/link_connection.h"

#include <boost/asio.hpp>
#include <stdexcept>
#include <utility>

namespace cohort {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr size_t kReadBytes = size_t{64} << 10;

}  // namespace

LinkConnection::LinkConnection(Socket socket, Handlers handlers)
    : socket_(std::move(socket)), handlers_(std::move(handlers)), buffer_(kReadBytes) {}

void LinkConnection::start() { read(); }

void LinkConnection::read() {
  socket_.async_read_some(asio::buffer(buffer_), [self = shared_from_this()](error_code error, size_t num_bytes) {
    if (self->is_closed_) return;
    if (error) return self->end("");
    self->reader_.append({self->buffer_.data(), num_bytes});
    try {
      self->handlers_.on_bytes(self->reader_);
    } catch (const std::runtime_error& torn) {
      return self->end(torn.what());
    }
    if (!self->is_closed_) self->read();
  });
}

void LinkConnection::send(std::string framed) {
  if (is_closed_) return;
  num_unsent_bytes_ += framed.size();
  unsent_.push_back(std::move(framed));
  if (unsent_.size() == 1) write_next();
}

void LinkConnection::write_next() {
  asio::async_write(socket_, asio::buffer(unsent_.front()),
                    [self = shared_from_this()](error_code error, size_t num_bytes) {
                      if (self->is_closed_) return;
                      if (error) return self->end("");
                      self->num_unsent_bytes_ -= num_bytes;
                      self->unsent_.pop_front();
                      if (!self->unsent_.empty()) {
                        self->write_next();
                      } else if (self->handlers_.on_sent) {
                        self->handlers_.on_sent();
                      }
                    });
}

void LinkConnection::end(const std::string& why) {
  if (is_closed_) return;
  close();
  handlers_.on_end(why);
}

void LinkConnection::close() {
  is_closed_ = true;
  error_code ignored;
  socket_.close(ignored);
}

}  // namespace cohort
