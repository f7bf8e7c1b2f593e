#include "commands/classify.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bundle/bundle.h"
#include "images/image.h"
#include "commands/measure.h"
#include "bundle/text.h"

struct labels {
  struct file file; /* one name a line */
};

struct classifier new_classifier(const struct model *model, const char *command, const char *folder, int top,
                                 int32_t most_pixels) {
  struct classifier c = {.model = model, .command = command, .top = top, .most_pixels = most_pixels};
  c.labels = allocate(sizeof *c.labels);
  c.labels->file = read_file(join(folder, "labels.txt"), 1 << 24, EXIT_INTEGRITY);
  c.rgb = allocate((size_t)model->width * (size_t)model->height * 3);
  c.logits = allocate((size_t)model->classes * sizeof *c.logits);
  return c;
}

/* A class without a name is printed with an empty one. */
static void print_label(const struct labels *labels, int index) {
  const char *at = (const char *)labels->file.data, *end = at + labels->file.size;
  for (; index > 0 && at < end; index--) {
    const char *line = memchr(at, '\n', (size_t)(end - at));
    at = line ? line + 1 : end;
  }
  const char *line = memchr(at, '\n', (size_t)(end - at));
  print_string(at, (size_t)((line ? line : end) - at));
}

static int better(const float *logits, int left, int right) {
  return logits[left] > logits[right] || (logits[left] == logits[right] && left < right);
}

static void print_top(const struct classifier *c) {
  const float *logits = c->logits;
  int classes = c->model->classes, best = 0, last = -1;
  double sum = 0;
  for (int i = 1; i < classes; i++) best = better(logits, i, best) ? i : best;
  for (int i = 0; i < classes; i++) sum += exp((double)logits[i] - (double)logits[best]);
  for (int rank = 0; rank < c->top && rank < classes; rank++) {
    int next = -1;
    for (int i = 0; i < classes; i++) {
      if (last >= 0 && !better(logits, last, i)) continue; /* already printed */
      if (i != last && (next < 0 || better(logits, i, next))) next = i;
    }
    if (next < 0) break; /* scores that are not numbers have no order */
    printf("%s{\"class\":%d,\"label\":", rank ? "," : "", next);
    print_label(c->labels, next);
    double share = exp((double)logits[next] - (double)logits[best]) / sum;
    printf(",\"logit\":");
    print_number((double)logits[next], 9);
    printf(",\"probability\":");
    print_number(share, 6);
    putchar('}');
    last = next;
  }
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
  printf(",\"variant\":\"%s\",\"prepare_ms\":%.4g,\"infer_ms\":%.4g,\"top\":[", c->model->variant(), prepared - start,
         done - prepared);
  print_top(c);
  printf("]}\n");
  return NULL;
}
