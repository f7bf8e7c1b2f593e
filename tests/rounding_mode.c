/* Runs a network twice, the second time on a thread that rounds towards zero and flushes small numbers.
 * rounding_mode model.so picture classes: ends with 0 when both answers are equal and the thread keeps its mode. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAME = 0, DIFFERENT = 1, MODE_LOST = 2, UNUSABLE = 3, LARGEST = 1 << 24 };

static const uint64_t towards_zero = 3u << 22 | 1u << 24;

int main(int argc, char **argv) {
  if (argc != 4) return UNUSABLE;
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) return UNUSABLE;
  int (*infer)(const uint8_t *, float *, void *) = (int (*)(const uint8_t *, float *, void *))dlsym(library, "rg_infer");
  size_t (*bytes)(void) = (size_t (*)(void))dlsym(library, "rg_workspace_bytes");
  size_t classes = (size_t)atoi(argv[3]);
  void *workspace = aligned_alloc(64, (bytes() + 63) / 64 * 64);
  float *before = malloc(classes * sizeof *before), *after = malloc(classes * sizeof *after);
  uint8_t *picture = malloc(LARGEST);
  FILE *file = fopen(argv[2], "rb");
  if (!file || !fread(picture, 1, LARGEST, file) || infer(picture, before, workspace)) return UNUSABLE;
  uint64_t mode;
  __asm__ volatile("msr fpcr, %0" ::"r"(towards_zero));
  int status = infer(picture, after, workspace);
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  __asm__ volatile("msr fpcr, xzr");
  if (status) return UNUSABLE;
  if (mode != towards_zero) return MODE_LOST;
  return memcmp(before, after, classes * sizeof *before) ? DIFFERENT : SAME;
}
