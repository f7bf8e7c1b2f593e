#include "commands/measure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bundle/bundle.h"
#include "commands/machine.h"

enum { MOST_INFERENCES = 1000000, MOST_PARTS = 60 };
static const double SLOWER_CLOCK = 0.9; /* of the clock before: below it the machine throttled */

double milliseconds(void) {
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

/* Times, growing as they come. */
struct series {
  double *times;
  size_t count, room;
};

static void append(struct series *series, double time) {
  if (series->count == series->room) {
    series->room = series->room * 2 + 1024;
    series->times = realloc(series->times, series->room * sizeof *series->times);
    if (!series->times) stop(EXIT_OTHER, "out of memory: %zu times were measured", series->count);
  }
  series->times[series->count++] = time;
}

static void time_one(const struct model *model, const uint8_t *picture, float *logits, struct series *series) {
  double start = milliseconds();
  infer(model, picture, logits);
  append(series, milliseconds() - start);
}

/* The value below which a part of the sorted times lies. */
static double percentile(const struct series *sorted, double part) {
  return sorted->times[(size_t)((double)(sorted->count - 1) * part)];
}

static void print_percentiles(const struct series *sorted) {
  static const struct { const char *name; double part; } figures[] = {
      {"min", 0}, {"median", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1}};
  for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
    printf("%s\"%s_ms\":%.6g", i ? "," : "", figures[i].name, percentile(sorted, figures[i].part));
}

static void sort(struct series *series) { qsort(series->times, series->count, sizeof *series->times, ascending); }

/* One part of a sustained measurement. */
struct part {
  double from_s, median_ms;
  size_t runs;
  struct machine_state state;
};

/* Measures until `end_ms`; the times are added to `all`. */
static struct part time_part(const struct model *model, const uint8_t *picture, float *logits, double begin_ms,
                             double end_ms, struct series *all) {
  struct series series = {NULL, 0, 0};
  struct part part = {.from_s = (milliseconds() - begin_ms) / 1e3};
  do time_one(model, picture, logits, &series);
  while (milliseconds() < end_ms);
  for (size_t i = 0; i < series.count; i++) append(all, series.times[i]);
  sort(&series);
  part.median_ms = percentile(&series, 0.5), part.runs = series.count, part.state = machine_state();
  free(series.times);
  return part;
}

static void print_curve(const struct part *parts, int count) {
  printf(",\"curve\":[");
  for (int i = 0; i < count; i++) {
    printf("%s{\"from_s\":%.3f,\"runs\":%zu,\"median_ms\":%.6g,\"state\":", i ? "," : "", parts[i].from_s,
           parts[i].runs, parts[i].median_ms);
    print_state(parts[i].state);
    putchar('}');
  }
  printf("]");
}

static void print_throttled(long before_khz, long lowest_khz) {
  if (before_khz <= 0 || lowest_khz <= 0) printf(",\"throttled\":null");
  else printf(",\"throttled\":%s", (double)lowest_khz < SLOWER_CLOCK * (double)before_khz ? "true" : "false");
}

void print_latency(const struct model *model, const uint8_t *picture, int warmup, int runs, int seconds) {
  struct series all = {NULL, 0, 0};
  struct part parts[MOST_PARTS];
  float *logits = new_logits(model);
  int count = seconds < MOST_PARTS ? seconds : MOST_PARTS;
  for (int i = 0; i < warmup; i++) infer(model, picture, logits);
  struct machine_state before = machine_state(); /* after the warm-up, when the clock has risen */
  double begin = milliseconds();
  for (int i = 0; i < count; i++)
    parts[i] = time_part(model, picture, logits, begin, begin + 1e3 * seconds * (i + 1) / count, &all);
  for (int i = 0; !count && i < runs; i++) time_one(model, picture, logits, &all);
  struct machine_state after = machine_state();
  long lowest = after.clock_khz;
  for (int i = 0; i < count; i++) lowest = parts[i].state.clock_khz < lowest ? parts[i].state.clock_khz : lowest;
  sort(&all);
  printf("{\"command\":\"bench\",\"variant\":\"%s\",\"threads\":%d,\"warmup\":%d,\"runs\":%zu,", model->variant(),
         model->threads, warmup, all.count);
  print_percentiles(&all);
  printf(",\"cores\":");
  print_cores();
  printf(",\"before\":");
  print_state(before);
  printf(",\"after\":");
  print_state(after);
  print_throttled(before.clock_khz, lowest);
  if (count) print_curve(parts, count);
  printf("}\n");
  free(all.times);
  free(logits);
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
  send_output();
  while (fgets(line, sizeof line, stdin)) {
    line[strcspn(line, "\n")] = 0;
    int runs = turn_length(line);
    double *times = new_times((size_t)runs);
    time_inferences(model, picture, warmup, runs, times);
    for (int i = 0; i < runs; i++) printf("%c%.6g", i ? ',' : '[', times[i]);
    printf("]\n");
    send_output();
    free(times);
  }
  check_input();
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
