#include "commands/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle/bundle.h"
#include "commands/machine.h"
#include "commands/measure.h"

/* Returns whether there was one more picture; `count` of them came before. */
static int next_picture(uint8_t *rgb, size_t size, unsigned long count) {
  size_t read = fread(rgb, 1, size, stdin);
  check_input();
  if (read && read < size)
    stop(EXIT_USAGE, "standard input ended within picture %lu: %zu of its %zu bytes came", count + 1, read, size);
  return read == size;
}

static void print_scores(const float *logits, int classes) {
  for (int i = 0; i < classes; i++) {
    uint32_t bits;
    memcpy(&bits, &logits[i], sizeof bits);
    printf("%08lx", (unsigned long)bits);
  }
}

void stream(const struct model *model, int warmup) {
  size_t size = picture_bytes(model);
  uint8_t *rgb = allocate(size);
  float *logits = allocate((size_t)model->classes * sizeof *logits);
  struct machine_state before = machine_state();
  unsigned long count = 0;
  for (; next_picture(rgb, size, count); count++) {
    for (int i = 0; !count && i < warmup; i++) infer(model, rgb, logits);
    if (!count) before = machine_state(); /* after the warm-up, when the clock has risen */
    double start = milliseconds();
    infer(model, rgb, logits);
    printf("{\"command\":\"stream\",\"infer_ms\":%.6g,\"scores\":\"", milliseconds() - start);
    print_scores(logits, model->classes);
    printf("\"}\n");
    send_output();
  }
  printf("{\"command\":\"streamed\",\"variant\":\"%s\",\"threads\":%d,\"pictures\":%lu,\"before\":", model->variant(),
         model->threads, count);
  print_state(before);
  printf(",\"after\":");
  print_state(machine_state());
  printf("}\n");
  free(logits);
  free(rgb);
}
