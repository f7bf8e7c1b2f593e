/* Whether a thread of the pool that wakes too late for a step looks for the next one before it sleeps again: ends with 0
 * if it does. */
#include <stdlib.h>
#include <time.h>

#include "inference/pool.c"

void stop(int code, const char *format, ...) {
  (void)format;
  exit(code);
}

static void nothing(void *data, int index) { (void)data, (void)index; }

/* Returns whether so many threads slept at some moment of so many milliseconds. */
static int seen(struct pool *pool, int sleepers, int ms) {
  int64_t end = nanoseconds() + (int64_t)ms * 1000000;
  while (nanoseconds() < end)
    if (atomic_load(&pool->sleepers) == sleepers) return 1;
  return 0;
}

int main(void) {
  struct pool *pool = pool_start(2);
  for (int i = 0; i < 500; i++) { /* who looks is awake for a moment only, which a busy machine can miss */
    if (!seen(pool, 1, 5000)) return 2; /* it never sleeps */
    pool_run(pool, nothing, NULL, 1); /* done long before anybody has woken */
    if (seen(pool, 0, 10)) return 0;
  }
  return 3;
}
