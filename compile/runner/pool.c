#include "pool.h"

#include <pthread.h>

#include "bundle.h"

struct pool {
  pthread_mutex_t lock;
  pthread_cond_t work_waits, work_done;
  void (*task)(void *data, int index);
  void *data;
  int next, count; /* pieces handed out, pieces in all */
  int running;     /* pieces handed out and not yet done */
};

/* Takes pieces until none is left; called and left with the lock held. */
static void take_pieces(struct pool *pool) {
  while (pool->next < pool->count) {
    int index = pool->next++;
    pool->running++;
    pthread_mutex_unlock(&pool->lock);
    pool->task(pool->data, index);
    pthread_mutex_lock(&pool->lock);
    pool->running--;
  }
  if (pool->running == 0) pthread_cond_signal(&pool->work_done);
}

static void *work(void *argument) {
  struct pool *pool = argument;
  pthread_mutex_lock(&pool->lock);
  for (;;) {
    while (pool->next >= pool->count) pthread_cond_wait(&pool->work_waits, &pool->lock);
    take_pieces(pool);
  }
  return NULL;
}

struct pool *pool_start(int threads) {
  struct pool *pool = allocate(sizeof *pool);
  *pool = (struct pool){.lock = PTHREAD_MUTEX_INITIALIZER, .work_waits = PTHREAD_COND_INITIALIZER,
                        .work_done = PTHREAD_COND_INITIALIZER};
  for (int i = 1; i < threads; i++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, pool)) stop(EXIT_OTHER, "cannot start thread %d of %d", i + 1, threads);
    pthread_detach(thread);
  }
  return pool;
}

int pool_run(void *context, void (*task)(void *data, int index), void *data, int count) {
  struct pool *pool = context;
  pthread_mutex_lock(&pool->lock);
  pool->task = task, pool->data = data, pool->next = 0, pool->count = count;
  pthread_cond_broadcast(&pool->work_waits);
  take_pieces(pool);
  while (pool->running > 0) pthread_cond_wait(&pool->work_done, &pool->lock);
  pthread_mutex_unlock(&pool->lock);
  return 0;
}
