/* Which cores a thread may run on. macOS alone decides that, so there every core is allowed and none can be chosen. */
#ifndef RG_AFFINITY_H
#define RG_AFFINITY_H

#ifdef __APPLE__

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

enum { CPU_SETSIZE = 64 };
typedef uint64_t cpu_set_t;
#define CPU_ZERO(set) (*(set) = 0)
#define CPU_SET(core, set) (*(set) |= (uint64_t)1 << (core))
#define CPU_ISSET(core, set) (*(set) >> (core) & 1)

static inline int sched_getaffinity(int process, size_t size, cpu_set_t *set) {
  (void)process, (void)size;
  long count = sysconf(_SC_NPROCESSORS_ONLN);
  *set = count < 1 ? 1 : count >= CPU_SETSIZE ? UINT64_MAX : ((uint64_t)1 << count) - 1;
  return 0;
}

static inline int sched_setaffinity(int process, size_t size, const cpu_set_t *set) {
  (void)process, (void)size, (void)set;
  errno = ENOTSUP;
  return -1;
}

#else

#include <sched.h>

#endif

#endif
