#include "measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bundle.h"

enum { MOST_INFERENCES = 1000000 };

static double milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static int ascending(const void *left, const void *right) {
  double l = *(const double *)left, r = *(const double *)right;
  return (l > r) - (l < r);
}

static float *new_logits(const struct model *model) { return allocate((size_t)model->classes * sizeof(float)); }

static void time_inferences(const struct model *model, const uint8_t *picture, int warmup, int runs, double *times) {
  float *logits = new_logits(model);
  for (int i = 0; i < warmup; i++) infer(model, picture, logits);
  for (int i = 0; i < runs; i++) {
    double start = milliseconds();
    infer(model, picture, logits);
    times[i] = milliseconds() - start;
  }
  free(logits);
}

static double *new_times(size_t count) { return allocate(count * sizeof(double)); }

void print_latency(const struct model *model, const uint8_t *picture, int warmup, int runs) {
  double *times = new_times((size_t)runs);
  time_inferences(model, picture, warmup, runs, times);
  qsort(times, (size_t)runs, sizeof *times, ascending);
  printf("{\"command\":\"bench\",\"variant\":\"%s\",\"threads\":%d,\"warmup\":%d,\"runs\":%d,\"min_ms\":%.6g,\"median_ms\":%.6g,"
         "\"p90_ms\":%.6g,\"max_ms\":%.6g}\n",
         model->variant(), model->threads, warmup, runs, times[0], times[(runs - 1) / 2], times[(runs - 1) * 9 / 10],
         times[runs - 1]);
}

static int turn_length(const char *line) {
  char *end;
  errno = 0;
  long count = strtol(line, &end, 10);
  if (errno || end == line || *end || count < 1 || count > MOST_INFERENCES)
    stop(EXIT_USAGE, "a turn has 1 to %d inferences, not '%s'", MOST_INFERENCES, line);
  return (int)count;
}

void print_turns(const struct model *model, const uint8_t *picture, int warmup) {
  char line[32];
  printf("{\"command\":\"turns\",\"variant\":\"%s\",\"threads\":%d,\"warmup\":%d}\n", model->variant(), model->threads, warmup);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    int runs = turn_length(line);
    double *times = new_times((size_t)runs);
    time_inferences(model, picture, warmup, runs, times);
    for (int i = 0; i < runs; i++) printf("%c%.6g", i ? ',' : '[', times[i]);
    printf("]\n");
    fflush(stdout);
    free(times);
  }
}

/* Writes the time of step s in inference i to times[s * runs + i]. */
static void time_steps(const struct model *model, const uint8_t *picture, int warmup, int runs, double *times) {
  float *logits = new_logits(model);
  for (int i = -warmup; i < runs; i++) {
    for (int step = 0; step < model->steps; step++) {
      double start = milliseconds();
      int status = model->run_step(step, picture, logits, model->workspace);
      if (i >= 0) times[(size_t)step * (size_t)runs + (size_t)i] = milliseconds() - start;
      if (status) stop(EXIT_OTHER, "step %d failed with status %d (see rg_status in repghost.h)", step, status);
    }
  }
  free(logits);
}

void print_profile(const struct model *model, const uint8_t *picture, int warmup, int runs) {
  if (!model->run_step)
    stop(EXIT_UNSUPPORTED, "this model.so is no profiling build; 'repghost bench --per-layer' makes one");
  double *whole = new_times((size_t)runs), *times = new_times((size_t)model->steps * (size_t)runs);
  time_inferences(model, picture, warmup, runs, whole);
  time_steps(model, picture, warmup, runs, times);
  qsort(whole, (size_t)runs, sizeof *whole, ascending);
  printf("{\"command\":\"profile\",\"variant\":\"%s\",\"warmup\":%d,\"runs\":%d,\"min_ms\":%.6g,\"median_ms\":%.6g,\"steps\":[",
         model->variant(), warmup, runs, whole[0], whole[(runs - 1) / 2]);
  for (int step = 0; step < model->steps; step++) {
    double *of_step = times + (size_t)step * (size_t)runs;
    qsort(of_step, (size_t)runs, sizeof *of_step, ascending);
    printf("%s{\"min_us\":%.6g,\"median_us\":%.6g}", step ? "," : "", of_step[0] * 1e3, of_step[(runs - 1) / 2] * 1e3);
  }
  printf("]}\n");
}
