/* The mode in which a thread does floating-point arithmetic. Kernels and resampling round to nearest, ties to even, keep
 * subnormal numbers and let no exception end the process, whatever mode the calling thread is in. */
#ifndef RG_ROUNDING_H
#define RG_ROUNDING_H

#include <stdint.h>

#if defined(__aarch64__)

/* Sets the default mode and returns the one before. */
static inline uint64_t enter_default_mode(void) {
  uint64_t before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  if (before) __asm__ volatile("msr fpcr, xzr" ::: "memory");
  return before;
}

/* Gives the thread its mode back. */
static inline void leave_default_mode(uint64_t before) {
  if (before) __asm__ volatile("msr fpcr, %0" ::"r"(before) : "memory");
}

#elif defined(__arm__)

enum { RG_FPSCR_MODE = 0x07ffff00 }; /* beside these, flags of what has happened so far */

static inline uint64_t enter_default_mode(void) {
  uint32_t before;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(before));
  if (before & RG_FPSCR_MODE) __asm__ volatile("vmsr fpscr, %0" ::"r"(before & ~(uint32_t)RG_FPSCR_MODE) : "memory");
  return before;
}

static inline void leave_default_mode(uint64_t before) {
  if (before & RG_FPSCR_MODE) __asm__ volatile("vmsr fpscr, %0" ::"r"((uint32_t)before) : "memory");
}

#elif defined(__riscv)

static inline uint64_t enter_default_mode(void) {
  uint64_t before;
  __asm__ volatile("frrm %0" : "=r"(before));
  if (before) __asm__ volatile("fsrm zero" ::: "memory");
  return before;
}

static inline void leave_default_mode(uint64_t before) {
  if (before) __asm__ volatile("fsrm %0" ::"r"(before) : "memory");
}

#elif defined(__x86_64__)

enum { RG_MXCSR_FLAGS = 0x3f, RG_MXCSR_DEFAULT = 0x1f80 }; /* what has happened so far; all exceptions masked */

static inline uint64_t enter_default_mode(void) {
  uint32_t before, wanted = RG_MXCSR_DEFAULT;
  __asm__ volatile("stmxcsr %0" : "=m"(before));
  if ((before & ~(uint32_t)RG_MXCSR_FLAGS) != wanted) __asm__ volatile("ldmxcsr %0" ::"m"(wanted) : "memory");
  return before;
}

static inline void leave_default_mode(uint64_t before) {
  uint32_t mode = (uint32_t)before;
  if ((mode & ~(uint32_t)RG_MXCSR_FLAGS) != RG_MXCSR_DEFAULT) __asm__ volatile("ldmxcsr %0" ::"m"(mode) : "memory");
}

#else /* no row of compile/targets/table.py */

static inline uint64_t enter_default_mode(void) { return 0; }

static inline void leave_default_mode(uint64_t before) { (void)before; }

#endif

#endif
