/* The C interface of a compiled network, model.so: a picture in, one score per class out, or several results.
 *
 *     struct rg_picture picture = {pixels, NULL, width, height, RG_RGB, stride, 0};
 *     rg_prepare(&picture, rgb, scratch);         resized and cropped as in training
 *     rg_infer(rgb, logits, workspace);
 *
 * Version: rg_abi() has to equal RG_ABI. A change that breaks a caller raises it, an addition raises it too.
 * Several results: a detector, say, gives maps and no scores of classes, so rg_abi() is RG_ABI_RESULTS, and a caller
 *   that compares with RG_ABI alone refuses it. The functions are the same; what is called logits are the numbers of all
 *   results, float [height][width][channels] each, one behind the other as "outputs" of rg_info lists them, and
 *   "classes" says how many numbers there are together. "detection" of rg_info says what a detector's numbers mean.
 * Errors: functions that can fail return an enum rg_status; 0 is success, and nothing is written otherwise, besides
 *   what rg_infer left in logits before RG_KERNEL_FAILED or RG_PARALLEL_FAILED. No function ends the process.
 * Threads: model.so needs no library, allocates nothing and keeps no state besides the chosen instruction set. Every
 *   function may be called from any thread at any time, as long as each call has memory of its own for what it writes
 *   (rgb, scratch, logits, workspace). rg_select changes the instruction set of calls that begin later.
 * Rounding: the mode in which the calling thread, or a thread of its pool, rounds, flushes subnormal numbers to zero or
 *   traps changes no result, and the thread has it back afterwards.
 * Alignment: workspace and scratch to 64 bytes, logits to 4, pixels and rgb not at all.
 */
#ifndef REPGHOST_H
#define REPGHOST_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RG_ABI 2
#define RG_ABI_RESULTS 3 /* the same functions, of a network with several results */
#define RG_WORKSPACE_ALIGNMENT 64 /* bytes */

enum rg_status {
  RG_DONE = 0,
  RG_NULL_POINTER = 1,      /* a pointer that must be given is null */
  RG_UNALIGNED = 2,         /* the workspace is not 64-byte aligned, or logits is not 4-byte aligned */
  RG_UNSUPPORTED_CPU = 3,   /* this core has none of the instruction sets the network was compiled for */
  RG_UNKNOWN_VARIANT = 4,   /* rg_select: no variant has that name */
  RG_KERNEL_FAILED = 5,     /* a step of the network reported a failure; the logits are not to be used */
  RG_INVALID_THREADS = 6,   /* rg_infer_parallel: threads is below 1 */
  RG_PARALLEL_FAILED = 7,   /* rg_infer_parallel: the caller's pool reported a failure */
  RG_WRONG_PICTURE = 8,     /* rg_prepare: a size, stride or order out of range; see struct rg_picture */
  RG_NOT_PREPARED = 9       /* rg_prepare: the network does not say how its pictures are prepared */
};

/* How the bytes of a picture lie in memory. NV12 is a plane of luma and one of Cb and Cr in turn, half as large in both
 * directions; each pixel takes the colour of its block of 2 x 2. */
enum rg_order {
  RG_RGB = 0,       /* red, green, blue */
  RG_BGR = 1,       /* blue, green, red */
  RG_NV12 = 2,      /* BT.601, luma from 16 to 235: what most cameras give */
  RG_NV12_FULL = 3, /* BT.601, all from 0 to 255, as in JPEG */
  RG_NV12_BT709 = 4, /* BT.709, luma from 16 to 235: high-definition video */
  RG_GREY_AND_BAND = 5, /* grey and one more band: what a network of two channels takes, and no other */
  RG_RGB_AND_BAND = 6   /* red, green, blue and one more band: of a network of four channels */
};

/* A picture of any size up to 89478485 pixels, upright. */
struct rg_picture {
  const uint8_t *pixels;   /* the upper left corner; with NV12 that of the luma */
  const uint8_t *chroma;   /* with NV12 the upper left corner of the other plane; otherwise ignored */
  int32_t width, height;   /* in pixels */
  int32_t order;           /* an enum rg_order */
  ptrdiff_t stride;        /* bytes from one row to the next, at least 3 * width or, with NV12, width, or the
                            * bands * width; below 0 when the picture stands on its head in memory */
  ptrdiff_t chroma_stride; /* with NV12 the same of the other plane, at least width rounded up to even */
};

/* The version of this interface; compare it with RG_ABI before calling anything else. */
int rg_abi(void);

/* What was compiled, as one JSON object: model, precision, program digest, input, classes, variants, and of several
 * results "outputs": name, height, width and channels of each. */
const char *rg_info(void);

/* The size of the scratch memory of one inference. */
size_t rg_workspace_bytes(void);

/* The size of the scratch memory rg_prepare needs for a picture: it depends on its width, height and order alone; 0
 * when rg_prepare would refuse it. */
size_t rg_prepare_bytes(const struct rg_picture *picture);

/* Makes the picture that rg_infer takes: it is resized and its centre cropped, to the byte as in training; for a network
 * of one channel it becomes grey before, the luma of BT.601. A network of two or four channels takes pictures that have
 * so many bands, and refuses others.
 *   rgb        uint8 [height][width][channels], written; sizes as in rg_info
 *   scratch    rg_prepare_bytes(picture) bytes, 64-byte aligned
 * Returns RG_DONE or another rg_status. */
int rg_prepare(const struct rg_picture *picture, uint8_t *rgb, void *scratch);

/* One inference.
 *   rgb        uint8 [height][width][channels], the cropped picture, sizes as in rg_info: three channels, red first, or
 *              one, grey, or either with one band more
 *   logits     float [classes], written; of several results the numbers of all
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
