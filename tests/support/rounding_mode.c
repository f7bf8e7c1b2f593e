/* Runs a network in the default mode of floating-point arithmetic and in others: on one thread, and with pieces on threads
 * of their own. rounding_mode model.so picture classes: ends with 0 when all answers are equal and threads keep modes. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAME = 0, DIFFERENT = 1, MODE_LOST = 2, UNUSABLE = 3, LARGEST = 1 << 24 };

#ifdef __x86_64__
enum { DEFAULT = 0x1f80, CONTROL = 0xffc0 };
/* down, up, towards zero; flush results, flush operands, all of it; trap inexact results */
static const uint64_t modes[] = {0x3f80, 0x5f80, 0x7f80, 0x9f80, 0x1fc0, 0xffc0, 0x0f80};

static void set_mode(uint64_t mode) {
  uint32_t word = (uint32_t)mode;
  __asm__ volatile("ldmxcsr %0" ::"m"(word) : "memory");
}

static uint64_t mode(void) {
  uint32_t word;
  __asm__ volatile("stmxcsr %0" : "=m"(word));
  return word & CONTROL;
}
#else
enum { DEFAULT = 0 };
static const uint64_t modes[] = {1u << 22, 2u << 22, 3u << 22, 1u << 24, 3u << 22 | 1u << 24};

static void set_mode(uint64_t mode) { __asm__ volatile("msr fpcr, %0" ::"r"(mode) : "memory"); }

static uint64_t mode(void) {
  uint64_t word;
  __asm__ volatile("mrs %0, fpcr" : "=r"(word));
  return word;
}
#endif

typedef void task_function(void *data, int index);
typedef int pool_function(void *context, task_function *task, void *data, int count);

struct piece {
  task_function *task;
  void *data;
  uint64_t mode;
  int index, lost;
};

static void *run_piece(void *argument) {
  struct piece *piece = argument;
  set_mode(piece->mode);
  piece->task(piece->data, piece->index);
  piece->lost = mode() != piece->mode;
  set_mode(DEFAULT);
  return NULL;
}

static int each_on_a_thread(void *context, task_function *task, void *data, int count) {
  int lost = 0;
  for (int i = 0; i < count; i++) {
    struct piece piece = {task, data, *(const uint64_t *)context, i, 0};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_piece, &piece) || pthread_join(thread, NULL)) return 1;
    lost |= piece.lost;
  }
  return lost;
}

int main(int argc, char **argv) {
  void *library = argc == 4 ? dlopen(argv[1], RTLD_NOW) : NULL;
  if (!library) return UNUSABLE;
  int (*infer)(const uint8_t *, float *, void *) = (int (*)(const uint8_t *, float *, void *))dlsym(library, "rg_infer");
  int (*parallel)(const uint8_t *, float *, void *, pool_function *, void *, int);
  *(void **)&parallel = dlsym(library, "rg_infer_parallel");
  size_t (*bytes)(void) = (size_t (*)(void))dlsym(library, "rg_workspace_bytes");
  size_t logits = (size_t)atoi(argv[3]) * sizeof(float);
  void *workspace = aligned_alloc(64, (bytes() + 64) / 64 * 64);
  float *before = malloc(logits), *after = malloc(logits);
  uint8_t *picture = malloc(LARGEST);
  FILE *file = fopen(argv[2], "rb");
  if (!file || !fread(picture, 1, LARGEST, file) || infer(picture, before, workspace)) return UNUSABLE;
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    uint64_t odd = modes[i];
    memset(after, 0, logits);
    set_mode(odd);
    int status = infer(picture, after, workspace), lost = mode() != odd;
    set_mode(DEFAULT);
    if (status || lost) return status ? UNUSABLE : MODE_LOST;
    if (memcmp(before, after, logits)) return DIFFERENT;
    memset(after, 0, logits);
    if (parallel(picture, after, workspace, each_on_a_thread, &odd, 2)) return MODE_LOST;
    if (memcmp(before, after, logits)) return DIFFERENT;
  }
  return SAME;
}
