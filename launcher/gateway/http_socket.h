// What HttpConnection wants of the system's sockets, beyond what Asio offers.
#pragma once

#include <cstdint>

namespace cohort {

// Events leave at once; what a client does not read waits with the caller and not in the kernel; a client whose host
// has vanished is noticed, in write_timeout_ms if it is owed something. Best effort.
void set_http_socket_options(int fd, int64_t write_timeout_ms);

// Whether the peer has closed or will send no more, even if what it has sent is not read yet.
bool peer_has_left(int fd);

}  // namespace cohort
