#include "commands/detect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle/bundle.h"
#include "bundle/text.h"
#include "commands/classify.h"
#include "commands/measure.h"
#include "images/draw.h"
#include "images/image.h"

struct detector new_detector(const struct model *model, const char *folder, int32_t most_pixels) {
  const char *error = NULL;
  const struct json *info = json_parse(model->info, strlen(model->info), &error);
  struct box_rule *rule = allocate(sizeof *rule);
  if (!json_member(info, "detection")) stop(EXIT_USAGE, "--detect: this network is no detector; --info says what it is");
  const char *problem = read_box_rule(json_member(info, "detection"), model->classes, rule);
  if (problem) stop(EXIT_INTEGRITY, "model.so describes itself wrongly: %s", problem);
  struct detector d = {.model = model, .rule = rule, .most_pixels = most_pixels};
  d.labels = read_labels(folder, rule->classes);
  d.found = allocate((size_t)(rule->detections + rule->candidates) * sizeof *d.found);
  d.rgb = allocate(picture_bytes(model));
  d.numbers = allocate((size_t)model->classes * sizeof *d.numbers);
  return d;
}

/* Turns shares into pixels. */
static void place(struct box *box, const struct pixels *pixels) {
  for (int i = 0; i < 4; i++) box->edges[i] = box->edges[i] * (i % 2 ? pixels->height : pixels->width);
}

static void print_box(const struct detector *d, const struct box *box) {
  printf("{\"class\":%d,\"label\":", box->label - 1);
  print_label(d->labels, box->label - 1);
  printf(",\"score\":");
  print_number(box->score, 9);
  printf(",\"box\":[");
  for (int i = 0; i < 4; i++) {
    if (i) putchar(',');
    print_number(box->edges[i], 9);
  }
  printf("]}");
}

static void print_boxes(const struct detector *d, const char *path, const struct pixels *pixels, int count,
                        const double times[3]) {
  printf("{\"command\":\"detect\",\"picture\":");
  print_string(path, strlen(path));
  printf(",\"width\":%d,\"height\":%d,\"variant\":\"%s\",\"prepare_ms\":%.4g,\"infer_ms\":%.4g,\"boxes_ms\":%.4g,\"boxes\":[",
         pixels->width, pixels->height, d->model->variant(), times[0], times[1], times[2]);
  for (int i = 0; i < count; i++) {
    if (i) putchar(',');
    print_box(d, &d->found[i]);
  }
  printf("]}\n");
}

const char *detect(const struct detector *d, const char *path, const char *drawn) {
  struct pixels pixels;
  double start = milliseconds();
  const char *problem = load_pixels(d->model, path, d->most_pixels, d->rgb, &pixels);
  if (problem) return problem;
  double prepared = milliseconds();
  infer(d->model, d->rgb, d->numbers);
  double inferred = milliseconds();
  int count = find_boxes(d->rule, d->numbers, d->found);
  double done = milliseconds();
  if (count < 0) problem = "there is not enough memory for the boxes of a picture";
  for (int i = 0; i < count; i++) place(&d->found[i], &pixels);
  if (!problem) print_boxes(d, path, &pixels, count, (double[]){prepared - start, inferred - prepared, done - inferred});
  if (!problem && drawn) {
    for (int i = count - 1; i >= 0; i--) { /* the best on top */
      if (d->found[i].score >= DRAWN_SCORE) draw_box(&pixels, d->found[i].edges, d->found[i].label);
    }
    problem = write_ppm(drawn, &pixels);
  }
  free(pixels.rgb);
  return problem;
}
