// Preloaded into a rank by faults_test.py. SIGUSR1 ends it with exit code 0 and no goodbye, as a library's stray exit()
// would; SIGUSR2 blocks its main thread for good while its other threads go on, as a driver that hangs would.
#include <signal.h>
#include <unistd.h>

static void leave(int signal_number) {
  (void)signal_number;
  _exit(0);
}

static void hang(int signal_number) {
  (void)signal_number;
  while (1) pause();
}

__attribute__((constructor)) static void arm(void) {
  struct sigaction on_leave = {.sa_handler = leave};
  struct sigaction on_hang = {.sa_handler = hang};
  sigaction(SIGUSR1, &on_leave, 0);
  sigaction(SIGUSR2, &on_hang, 0);
}
