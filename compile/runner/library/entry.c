/* The functions of repghost.h over the steps that TVM compiled.
 *
 * rg_config.h is written by compile/link/toolchain.py for each network:
 *   RG_STEPS, RG_UNITS         how many steps, and the units of work of each
 *   RG_WORKSPACE_BYTES         scratch memory of one inference
 *   RG_INFO                    the JSON text of rg_info
 *   RG_NETWORK_ABI             RG_ABI, or RG_ABI_RESULTS of a network with several results
 *   RG_RULE, RG_HEIGHT, RG_WIDTH, RG_CHANNELS, RG_RESIZE_HEIGHT, RG_RESIZE_WIDTH, RG_CUBIC
 *                              how pictures are prepared, see prepare.c
 *   RG_VARIANTS(X)             X(name, step function, weights, needed RG_CPU_* bits), from the plainest to the fastest
 *   RG_PROFILING               only in a profiling build, which is never shipped: the steps can be run one by one
 */
#include "repghost.h"

#include "library/hwcaps.h"
#include "library/rounding.h"
#include "rg_config.h"

#define EXPORT __attribute__((visibility("default")))

typedef int32_t step_function(int32_t step, int32_t begin, int32_t end, const uint8_t *rgb, float *logits,
                              int8_t *workspace, const int8_t *weights);

#define DECLARE(name, function, weights, needs) \
  extern step_function function;                \
  extern const int8_t weights[];
RG_VARIANTS(DECLARE)

static const struct variant {
  const char *name;
  step_function *step;
  const int8_t *weights;
  uint32_t needs;
} variants[] = {
#define ROW(name, function, weights, needs) {#name, function, weights, needs},
    RG_VARIANTS(ROW)};

static const int32_t units[RG_STEPS] = {RG_UNITS};

enum { VARIANTS = sizeof variants / sizeof variants[0], NOT_CHOSEN = -1, NONE_FITS = -2 };

/* Two threads that choose at the same time choose the same, so a relaxed store is enough. */
static int chosen = NOT_CHOSEN;

static int fits(const struct variant *variant) { return (variant->needs & ~rg_cpu_features()) == 0; }

static int best(void) {
  for (int i = VARIANTS - 1; i >= 0; i--) {
    if (fits(&variants[i])) return i;
  }
  return NONE_FITS;
}

static const struct variant *current(void) {
  int i = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
  if (i == NOT_CHOSEN) {
    i = best();
    __atomic_store_n(&chosen, i, __ATOMIC_RELAXED);
  }
  return i == NONE_FITS ? NULL : &variants[i];
}

static int equal(const char *left, const char *right) {
  while (*left && *left == *right) left++, right++;
  return *left == *right;
}

EXPORT int rg_abi(void) { return RG_NETWORK_ABI; }

EXPORT const char *rg_info(void) { return RG_INFO; }

EXPORT size_t rg_workspace_bytes(void) { return RG_WORKSPACE_BYTES; }

EXPORT const char *rg_variant(void) {
  const struct variant *variant = current();
  return variant ? variant->name : NULL;
}

EXPORT int rg_select(const char *name) {
  if (!name) {
    __atomic_store_n(&chosen, NOT_CHOSEN, __ATOMIC_RELAXED);
    return current() ? RG_DONE : RG_UNSUPPORTED_CPU;
  }
  for (int i = 0; i < VARIANTS; i++) {
    if (!equal(variants[i].name, name)) continue;
    if (!fits(&variants[i])) return RG_UNSUPPORTED_CPU;
    __atomic_store_n(&chosen, i, __ATOMIC_RELAXED);
    return RG_DONE;
  }
  return RG_UNKNOWN_VARIANT;
}

static int refuse(const uint8_t *rgb, const float *logits, const void *workspace) {
  if (!rgb || !logits || (!workspace && RG_WORKSPACE_BYTES > 0)) return RG_NULL_POINTER;
  if ((uintptr_t)workspace % RG_WORKSPACE_ALIGNMENT || (uintptr_t)logits % sizeof *logits) return RG_UNALIGNED;
  return RG_DONE;
}

static int run_units(const struct variant *variant, int32_t step, int32_t begin, int32_t end, const uint8_t *rgb,
                     float *logits, int8_t *workspace) {
  uint64_t before = enter_default_mode();
  int failed = variant->step(step, begin, end, rgb, logits, workspace, variant->weights);
  leave_default_mode(before);
  return failed;
}

EXPORT int rg_infer(const uint8_t *rgb, float *logits, void *workspace) {
  int status = refuse(rgb, logits, workspace);
  if (status) return status;
  const struct variant *variant = current();
  if (!variant) return RG_UNSUPPORTED_CPU;
  for (int32_t step = 0; step < RG_STEPS; step++) {
    if (run_units(variant, step, 0, units[step], rgb, logits, workspace)) return RG_KERNEL_FAILED;
  }
  return RG_DONE;
}

struct job {
  const struct variant *variant;
  const uint8_t *rgb;
  float *logits;
  int8_t *workspace;
  int32_t step;
  int pieces;
  int failed;
};

static void run_piece(void *data, int index) {
  struct job *job = data;
  int64_t total = units[job->step];
  int32_t begin = (int32_t)(total * index / job->pieces), end = (int32_t)(total * (index + 1) / job->pieces);
  if (run_units(job->variant, job->step, begin, end, job->rgb, job->logits, job->workspace))
    __atomic_store_n(&job->failed, 1, __ATOMIC_RELAXED);
}

EXPORT int rg_infer_parallel(const uint8_t *rgb, float *logits, void *workspace, rg_parallel_for run, void *context,
                             int threads) {
  int status = run ? refuse(rgb, logits, workspace) : RG_NULL_POINTER;
  if (status) return status;
  if (threads < 1) return RG_INVALID_THREADS;
  struct job job = {current(), rgb, logits, workspace, 0, 1, 0};
  if (!job.variant) return RG_UNSUPPORTED_CPU;
  for (; job.step < RG_STEPS; job.step++) {
    job.pieces = threads < units[job.step] ? threads : units[job.step];
    if (job.pieces == 1) run_piece(&job, 0);
    else if (run(context, run_piece, &job, job.pieces)) return RG_PARALLEL_FAILED;
    if (__atomic_load_n(&job.failed, __ATOMIC_RELAXED)) return RG_KERNEL_FAILED;
  }
  return RG_DONE;
}

#ifdef RG_PROFILING
EXPORT int rg_steps(void) { return RG_STEPS; }

/* Runs one whole step; the ones before it must have been run on the same workspace. */
EXPORT int rg_run_step(int32_t step, const uint8_t *rgb, float *logits, void *workspace) {
  int status = refuse(rgb, logits, workspace);
  if (status) return status;
  const struct variant *variant = current();
  if (!variant) return RG_UNSUPPORTED_CPU;
  return run_units(variant, step, 0, units[step], rgb, logits, workspace) ? RG_KERNEL_FAILED : RG_DONE;
}
#endif
