/* Threads that share the pieces of one step: an example of the pool that rg_infer_parallel asks its caller for. */
#ifndef RG_POOL_H
#define RG_POOL_H

struct pool;

/* Starts a pool in which the caller and `threads` - 1 more threads work; ends the program when that fails. */
struct pool *pool_start(int threads);

/* An rg_parallel_for; `pool` is a struct pool. */
int pool_run(void *pool, void (*task)(void *data, int index), void *data, int count);

#endif
