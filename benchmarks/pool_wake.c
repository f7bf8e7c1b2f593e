/* How long a thread of the runner's pool takes to begin with its piece, and what the pool costs when nothing is asked of it:
 * prints {"threads": N, "wake_ns": [...], "idle_ms": [wall, processor]}. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bundle/bundle.h"
#include "inference/pool.h"

enum { STEPS = 2000, PIECE_NS = 5000, GAP_NS = 20000, MOST_THREADS = 8, IDLE_MS = 500 };

static int64_t clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void spin(int64_t ns) {
  int64_t end = clock_ns(CLOCK_MONOTONIC) + ns;
  while (clock_ns(CLOCK_MONOTONIC) < end) {
  }
}

void stop(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  exit(code);
}

/* A piece takes as long as that of a small step, so every thread gets one. */
static void piece(void *data, int index) {
  ((int64_t *)data)[index] = clock_ns(CLOCK_MONOTONIC);
  spin(PIECE_NS);
}

int main(int count, char **words) {
  int threads = count > 1 ? atoi(words[1]) : 2;
  if (threads < 2 || threads > MOST_THREADS) return 2;
  struct pool *pool = pool_start(threads);
  printf("{\"threads\": %d, \"wake_ns\": [", threads);
  for (int step = 0; step < STEPS; step++) {
    int64_t began[MOST_THREADS], last = 0, asked = clock_ns(CLOCK_MONOTONIC);
    pool_run(pool, piece, began, threads);
    for (int i = 0; i < threads; i++) last = began[i] > last ? began[i] : last;
    printf("%s%lld", step ? ", " : "", (long long)(last - asked));
    spin(GAP_NS); /* as between two steps of a network */
  }
  int64_t wall = clock_ns(CLOCK_MONOTONIC), processor = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  struct timespec idle = {0, IDLE_MS * 1000000};
  nanosleep(&idle, NULL);
  wall = clock_ns(CLOCK_MONOTONIC) - wall, processor = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - processor;
  printf("], \"idle_ms\": [%.3f, %.3f]}\n", wall / 1e6, processor / 1e6);
  return 0;
}
