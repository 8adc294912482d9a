#include "launcher/gateway/http_socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

namespace cohort {
namespace {

void set_option(int fd, int level, int name, int value) {
  (void)::setsockopt(fd, level, name, &value, sizeof(value));  // it works without, less well
}

}  // namespace

void set_http_socket_options(int fd, int64_t write_timeout_ms) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  constexpr int kMaxUnsentBytes = 64 << 10;
  set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, kMaxUnsentBytes);
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(write_timeout_ms));
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

bool peer_has_left(int fd) {
  pollfd asked = {.fd = fd, .events = POLLRDHUP, .revents = 0};
  return ::poll(&asked, 1, 0) == 1;
}

}  // namespace cohort
