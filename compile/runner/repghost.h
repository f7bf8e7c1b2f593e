/* The C interface of a compiled network, model.so.
 *
 * model.so needs no library and keeps no state besides the chosen instruction set: every function but rg_select may be
 * called from any thread at any time, as long as each call has its own workspace.
 */
#ifndef REPGHOST_H
#define REPGHOST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RG_ABI 1
#define RG_WORKSPACE_ALIGNMENT 64 /* bytes */

enum rg_status {
  RG_DONE = 0,
  RG_NULL_POINTER = 1,      /* a pointer that must be given is null */
  RG_UNALIGNED = 2,         /* the workspace is not 64-byte aligned, or logits is not 4-byte aligned */
  RG_UNSUPPORTED_CPU = 3,   /* this core has none of the instruction sets the network was compiled for */
  RG_UNKNOWN_VARIANT = 4,   /* rg_select: no variant has that name */
  RG_KERNEL_FAILED = 5,     /* a step of the network reported a failure; the logits are not to be used */
  RG_INVALID_THREADS = 6,   /* rg_infer_parallel: threads is below 1 */
  RG_PARALLEL_FAILED = 7    /* rg_infer_parallel: the caller's pool reported a failure */
};

/* The version of this interface; compare it with RG_ABI before calling anything else. */
int rg_abi(void);

/* What was compiled, as one JSON object: model, precision, program digest, input, classes, variants. */
const char *rg_info(void);

/* The size of the scratch memory of one inference. */
size_t rg_workspace_bytes(void);

/* One inference.
 *   rgb        uint8 [height][width][3], the cropped picture, red first; sizes as in rg_info
 *   logits     float [classes], written
 *   workspace  rg_workspace_bytes() bytes, 64-byte aligned; its content does not matter before or after
 * Returns RG_DONE or another rg_status. */
int rg_infer(const uint8_t *rgb, float *logits, void *workspace);

/* One piece of work; index is in [0, count). */
typedef void (*rg_task)(void *data, int index);

/* The caller's pool: calls task(data, i) exactly once for every i in [0, count), in any order and on any threads,
 * and returns 0 after all of them have returned; anything else stops the inference. */
typedef int (*rg_parallel_for)(void *context, rg_task task, void *data, int count);

/* rg_infer over the caller's threads, with the same result to the bit. Each step is cut into at most `threads` pieces. */
int rg_infer_parallel(const uint8_t *rgb, float *logits, void *workspace, rg_parallel_for run, void *context,
                      int threads);

/* The instruction set in use, e.g. "dot"; null when this core has none of them. */
const char *rg_variant(void);

/* Use the named instruction set from now on, in the whole process; null returns to the best one. For tests and
 * measurements. Returns RG_UNKNOWN_VARIANT or RG_UNSUPPORTED_CPU, changing nothing, when it cannot be used. */
int rg_select(const char *variant);

#ifdef __cplusplus
}
#endif
#endif
