/* The steps of a network take microseconds, so a thread waits for the next one by looking, and sleeps only when none has
 * come for a while. */
#include "inference/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "bundle/bundle.h"

enum {
  MOST_PIECES = 0xffff,
  LOOKS = 64,         /* between two readings of the clock */
  LOOK_NS = 200000,   /* then a worker sleeps; longer than any step takes, shorter than anybody notices */
  CALLER_LOOKS = 4096 /* then the caller lets another thread have its core: a worker with a piece may need it */
};

struct pool {
  /* generation << 32 | pieces << 16 | next piece, in one word: whoever advances it owns that piece of that generation,
   * and the task below cannot change before the piece is done. */
  _Alignas(64) _Atomic uint64_t ticket;
  void (*task)(void *data, int index);
  void *data;
  _Alignas(64) atomic_int unfinished;
  _Alignas(64) atomic_int sleepers;
  pthread_mutex_t lock;
  pthread_cond_t work_waits;
};

static inline int next_piece(uint64_t ticket) { return (int)(ticket & 0xffff); }

static inline int has_work(uint64_t ticket) { return next_piece(ticket) < (int)(ticket >> 16 & 0xffff); }

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield");
#endif
}

static void take_pieces(struct pool *pool) {
  uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
  while (has_work(ticket)) {
    if (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket + 1, memory_order_acq_rel,
                                               memory_order_acquire))
      continue;
    pool->task(pool->data, next_piece(ticket));
    atomic_fetch_sub_explicit(&pool->unfinished, 1, memory_order_release);
    ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
  }
}

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Returns whether there was work before it was time to sleep. */
static int look_for_work(struct pool *pool) {
  int64_t end = nanoseconds() + LOOK_NS;
  do {
    for (int i = 0; i < LOOKS; i++) {
      if (has_work(atomic_load_explicit(&pool->ticket, memory_order_acquire))) return 1;
      relax();
    }
  } while (nanoseconds() < end);
  return 0;
}

/* A sleeper counts itself first and looks once more; pool_run makes work first and counts then: one sees the other. Who
 * wakes too late for a step does not sleep again, because then it would be too late for the next one as well. */
static void sleep_until_work(struct pool *pool) {
  pthread_mutex_lock(&pool->lock);
  atomic_fetch_add(&pool->sleepers, 1);
  if (!has_work(atomic_load(&pool->ticket))) pthread_cond_wait(&pool->work_waits, &pool->lock);
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->lock);
}

static void *work(void *argument) {
  struct pool *pool = argument;
  for (;;) {
    if (!look_for_work(pool)) sleep_until_work(pool);
    take_pieces(pool);
  }
  return NULL;
}

struct pool *pool_start(int threads) {
  static struct pool pools[1]; /* static, because it has to be aligned; one is all this program needs */
  struct pool *pool = pools;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->work_waits, NULL);
  for (int i = 1; i < threads; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, pool)) stop(EXIT_OTHER, "cannot start thread %d of %d", i + 1, threads);
    pthread_detach(thread);
  }
  return pool;
}

int pool_run(void *context, void (*task)(void *data, int index), void *data, int count) {
  struct pool *pool = context;
  if (count < 1 || count > MOST_PIECES) return count != 0;
  pool->task = task, pool->data = data;
  atomic_store_explicit(&pool->unfinished, count, memory_order_relaxed);
  uint64_t generation = (atomic_load_explicit(&pool->ticket, memory_order_relaxed) >> 32) + 1;
  atomic_store(&pool->ticket, generation << 32 | (uint64_t)count << 16);
  if (atomic_load(&pool->sleepers) > 0) {
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->work_waits);
    pthread_mutex_unlock(&pool->lock);
  }
  take_pieces(pool);
  for (int looks = 1; atomic_load_explicit(&pool->unfinished, memory_order_acquire) > 0; looks++) {
    if (looks % CALLER_LOOKS) relax();
    else sched_yield();
  }
  return 0;
}
