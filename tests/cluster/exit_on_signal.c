// Preloaded into a rank by faults_test.py: SIGUSR1 then ends it with exit code 0 and no goodbye, as a library's stray
// exit() would.
#include <signal.h>
#include <unistd.h>

static void leave(int signal_number) {
  (void)signal_number;
  _exit(0);
}

__attribute__((constructor)) static void arm(void) {
  struct sigaction action = {.sa_handler = leave};
  sigaction(SIGUSR1, &action, 0);
}
