#include "commands/classify.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle/bundle.h"
#include "images/image.h"
#include "commands/measure.h"
#include "bundle/text.h"

/* A class without a name has an empty one. */
static const char **find_lines(struct file file, int classes) {
  const char *at = (const char *)file.data, *end = at + file.size;
  const char **lines = allocate(((size_t)classes + 1) * sizeof *lines);
  for (int i = 0; i <= classes; i++) {
    lines[i] = at;
    const char *line = memchr(at, '\n', (size_t)(end - at));
    at = line ? line + 1 : end;
  }
  return lines;
}

struct labels *read_labels(const char *folder, int classes) {
  struct labels *labels = allocate(sizeof *labels);
  labels->lines = find_lines(read_file(join(folder, "labels.txt"), 1 << 24, EXIT_INTEGRITY), classes);
  return labels;
}

struct classifier new_classifier(const struct model *model, const char *command, const char *folder, int top,
                                 int32_t most_pixels) {
  struct classifier c = {.model = model, .command = command, .top = top, .most_pixels = most_pixels};
  c.labels = read_labels(folder, model->classes);
  c.rgb = allocate(picture_bytes(model));
  c.logits = allocate((size_t)model->classes * sizeof *c.logits);
  c.ranked = allocate((size_t)model->classes * sizeof *c.ranked);
  return c;
}

/* The best first, of equal ones the lower class; what is no number comes last. */
static int by_rank(const void *left, const void *right) {
  const struct ranked *l = left, *r = right;
  int l_none = isnan(l->logit), r_none = isnan(r->logit);
  if (l_none || r_none || l->logit == r->logit) return l_none != r_none ? l_none - r_none : l->index - r->index;
  return l->logit < r->logit ? 1 : -1;
}

void print_label(const struct labels *labels, int index) {
  const char *at = labels->lines[index], *end = labels->lines[index + 1];
  print_string(at, (size_t)(end - at) - (end > at && end[-1] == '\n'));
}

static void print_top(const struct classifier *c) {
  int classes = c->model->classes;
  double sum = 0, best;
  for (int i = 0; i < classes; i++) c->ranked[i] = (struct ranked){c->logits[i], i};
  qsort(c->ranked, (size_t)classes, sizeof *c->ranked, by_rank);
  best = (double)c->ranked[0].logit;
  for (int i = 0; i < classes; i++) sum += exp((double)c->logits[i] - best);
  for (int rank = 0; rank < c->top && rank < classes; rank++) {
    const struct ranked *next = &c->ranked[rank];
    if (rank && isnan(next->logit)) break; /* scores that are not numbers have no order */
    printf("%s{\"class\":%d,\"label\":", rank ? "," : "", next->index);
    print_label(c->labels, next->index);
    printf(",\"logit\":");
    print_number((double)next->logit, 9);
    printf(",\"probability\":");
    print_number(exp((double)next->logit - best) / sum, 6);
    putchar('}');
  }
}

void print_result(const struct classifier *c, double prepare_ms, double infer_ms) {
  printf(",\"variant\":\"%s\",\"prepare_ms\":%.4g,\"infer_ms\":%.4g,\"top\":[", c->model->variant(), prepare_ms, infer_ms);
  print_top(c);
  printf("]}\n");
}

const char *classify(const struct classifier *c, const char *path) {
  double start = milliseconds();
  const char *problem = load_picture(c->model, path, c->most_pixels, c->rgb);
  if (problem) return problem;
  double prepared = milliseconds();
  infer(c->model, c->rgb, c->logits);
  double done = milliseconds();
  printf("{\"command\":\"%s\",\"picture\":", c->command);
  print_string(path, strlen(path));
  print_result(c, prepared - start, done - prepared);
  return NULL;
}
