// A wall clock that a test can move, for an unmodified Envoy: LD_PRELOAD this
// library and name a 16-byte file in TOLLGATE_TEST_CLOCK. The file holds two
// native-endian int64: an offset in ns added to the real time, and, when not
// zero, a frozen unix time in ns that replaces it. The file may change at any
// moment. CLOCK_MONOTONIC, and so every timer, stays real. (libfaketime hangs
// Envoy at start; raw system calls do not.)
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *moved; // [0] offset, [1] frozen

__attribute__((constructor)) static void open_clock(void) {
  const char *name = getenv("TOLLGATE_TEST_CLOCK");
  int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void *page = mmap(0, 16, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  if (page != MAP_FAILED) moved = page;
}

int clock_gettime(clockid_t id, struct timespec *out) {
  int failed = (int)syscall(SYS_clock_gettime, id, out);
  if (failed || !moved || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return failed;
  int64_t frozen = moved[1];
  int64_t now = frozen ? frozen : (int64_t)out->tv_sec * 1000000000 + out->tv_nsec + moved[0];
  out->tv_sec = now / 1000000000;
  out->tv_nsec = now % 1000000000;
  return 0;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  (void)zone;
  struct timespec now;
  int failed = clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return failed;
}

time_t time(time_t *out) {
  struct timespec now = {0};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
