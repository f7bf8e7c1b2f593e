/* Runs the steps of many small networks and writes what they left in memory; see kernel_harness.py.

   Every array ends where a page without access begins, and what lies before it is watched: a kernel that leaves its
   memory is caught, also when the bytes it takes from there do not change the answer.

   The input, little-endian: int32 number of cases; for each case int32 workspace, weights, picture bytes, logits
   floats, steps; (step, units) for each step; workspace, weights and picture bytes. The output: for each case and
   order (units forwards in one call, then backwards one by one) int32 status, workspace, logits. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifndef __wasm__
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "library/hwcaps.h"

int32_t STEP(int32_t step, int32_t begin, int32_t end, const uint8_t *rgb, float *logits, int8_t *workspace,
             const int8_t *weights);

enum { OK = 0, FAULT = 1, UNDERRUN = 2, RETURNED = 3, FILL = 0x5a, UNSUPPORTED = 4, ORDERS = 2 };

static void read_exactly(void *target, size_t size) {
  if (fread(target, 1, size, stdin) != size) exit(5);
}

static void write_exactly(const void *source, size_t size) {
  if (fwrite(source, 1, size, stdout) != size) exit(6);
}

struct guarded {
  uint8_t *start, *data; /* the first mapped byte; the array, at the end of the last accessible page */
  size_t size, mapped;
};

#ifdef __wasm__
/* WebAssembly has no pages without access: what lies behind an array is watched as what lies before it. */
enum { WATCHED = 65536 };

static struct guarded guarded(size_t size) {
  struct guarded area = {.size = size, .mapped = size + 2 * WATCHED};
  if (!(area.start = malloc(area.mapped))) exit(7);
  memset(area.start, FILL, area.mapped);
  area.data = area.start + WATCHED;
  return area;
}

static void release(struct guarded area) { free(area.start); }

static int overrun(struct guarded area) {
  for (uint8_t *at = area.data + area.size; at < area.start + area.mapped; at++)
    if (*at != FILL) return 1;
  return 0;
}
#else
static sigjmp_buf recovery;

static void recover(int signal) { siglongjmp(recovery, signal); }

static struct guarded guarded(size_t size) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t inside = (size + page - 1) / page * page + page;
  struct guarded area = {.size = size, .mapped = inside + page};
  area.start = mmap(0, area.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area.start == MAP_FAILED || mprotect(area.start + inside, page, PROT_NONE)) exit(7);
  area.data = area.start + inside - size;
  memset(area.start, FILL, inside);
  return area;
}

static void release(struct guarded area) { munmap(area.start, area.mapped); }

static int overrun(struct guarded area) {
  (void)area;
  return 0; /* it would have been a fault */
}
#endif

static int underrun(struct guarded area) {
  for (uint8_t *at = area.start; at < area.data; at++)
    if (*at != FILL) return 1;
  return 0;
}

static struct guarded guarded_input(size_t size) {
  struct guarded area = guarded(size);
  read_exactly(area.data, size);
  return area;
}

static int32_t run(const int32_t *steps, int32_t count, int backwards, const uint8_t *rgb, float *logits,
                   int8_t *workspace, const int8_t *weights) {
  int32_t status = 0;
  for (int32_t i = 0; i < count; i++) {
    int32_t step = steps[2 * i], units = steps[2 * i + 1];
    if (!backwards) status |= STEP(step, 0, units, rgb, logits, workspace, weights);
    for (int32_t unit = units; backwards && unit-- > 0;)
      status |= STEP(step, unit, unit + 1, rgb, logits, workspace, weights);
  }
  return status ? RETURNED : OK;
}

static void replay(void) {
  int32_t sizes[5];
  read_exactly(sizes, sizeof sizes);
  int32_t *steps = malloc((size_t)sizes[4] * 8);
  read_exactly(steps, (size_t)sizes[4] * 8);
  struct guarded fresh = guarded_input((size_t)sizes[0]), weights = guarded_input((size_t)sizes[1]);
  struct guarded rgb = guarded_input((size_t)sizes[2]);
  for (int order = 0; order < ORDERS; order++) {
    struct guarded workspace = guarded(fresh.size), logits = guarded((size_t)sizes[3] * sizeof(float));
    memcpy(workspace.data, fresh.data, fresh.size);
    volatile int32_t status = FAULT;
#ifndef __wasm__
    if (!sigsetjmp(recovery, 1))
#endif
      status = run(steps, sizes[4], order, rgb.data, (float *)logits.data, (int8_t *)workspace.data,
                   (const int8_t *)weights.data);
    if (status == OK && (overrun(workspace) || overrun(logits))) status = FAULT;
    if (status == OK && (underrun(workspace) || underrun(logits))) status = UNDERRUN;
    int32_t known = status;
    write_exactly(&known, sizeof known);
    write_exactly(workspace.data, workspace.size);
    write_exactly(logits.data, logits.size);
    release(workspace);
    release(logits);
  }
  release(fresh);
  release(weights);
  release(rgb);
  free(steps);
}

int main(void) {
  uint32_t needs = NEEDS;
  if ((rg_cpu_features() & needs) != needs) return UNSUPPORTED;
#ifndef __wasm__
  struct sigaction action = {.sa_handler = recover};
  int signals[] = {SIGSEGV, SIGBUS, SIGILL};
  for (int i = 0; i < 3; i++) sigaction(signals[i], &action, 0);
#endif
  int32_t count;
  read_exactly(&count, sizeof count);
  while (count-- > 0) replay();
  return fflush(stdout) ? 6 : 0;
}
