#include "inference/boxes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A product and a sum are rounded one after the other, as in Python; a fused one would give other bits. */
#pragma STDC FP_CONTRACT OFF

enum { COORDINATES = 4, TERMS = 13 };
static const double log2_e = 1.4426950408889634, ln2_high = 0.6931471803691238, ln2_low = 1.9082149292705877e-10;
static const double largest_stretch = 4.135166556742356, lowest = -700.0, margin = 1e-6;

/* -- the rule ---------------------------------------------------------------------------------------------------------- */
static int whole(const struct json *object, const char *key, int most) {
  const struct json *value = json_member(object, key);
  if (!value || value->kind != JSON_NUMBER || !(value->number >= 1 && value->number <= most)) return 0;
  return value->number == floor(value->number) ? (int)value->number : 0;
}

static double share(const struct json *value, double most) {
  return value && value->kind == JSON_NUMBER && value->number >= 0 && value->number <= most ? value->number : -1;
}

static const char *read_level(const struct json *entry, struct box_level *level) {
  level->rows = whole(entry, "rows", MOST_SIDE), level->columns = whole(entry, "columns", MOST_SIDE);
  const struct json *anchors = json_member(entry, "anchors");
  if (!level->rows || !level->columns || !anchors || anchors->kind != JSON_ARRAY) return "a level has no size or no anchors";
  level->shapes = 0;
  for (const struct json *pair = anchors->child; pair; pair = pair->next) {
    const struct json *width = pair->kind == JSON_ARRAY ? pair->child : NULL, *height = width ? width->next : NULL;
    if (level->shapes == MOST_SHAPES || !height || height->next) return "an anchor is no pair, or there are too many";
    double *sides = level->sides[level->shapes++];
    sides[0] = share(width, 16), sides[1] = share(height, 16);
    if (!(sides[0] > 0 && sides[1] > 0)) return "a side of an anchor is out of range";
  }
  return level->shapes ? NULL : "a level has no anchors";
}

const char *read_box_rule(const struct json *detection, int numbers, struct box_rule *rule) {
  memset(rule, 0, sizeof *rule);
  if (!detection) return "it is no detector";
  if (!whole(detection, "version", 1)) return "its boxes are of another version than this runner reads";
  rule->classes = whole(detection, "classes", MOST_CLASSES);
  rule->candidates = whole(detection, "candidates", MOST_KEPT);
  rule->detections = whole(detection, "detections", MOST_KEPT);
  rule->score = share(json_member(detection, "score"), 1);
  rule->overlap = share(json_member(detection, "overlap"), 1);
  const struct json *levels = json_member(detection, "levels");
  if (!rule->classes || !rule->candidates || !rule->detections || rule->score < 0 || rule->overlap <= 0 || !levels ||
      levels->kind != JSON_ARRAY)
    return "a number of its detection is missing or out of range";
  uint64_t anchors = 0;
  for (const struct json *entry = levels->child; entry; entry = entry->next) {
    if (rule->levels == MOST_LEVELS) return "it has too many levels";
    struct box_level *level = &rule->level[rule->levels++];
    const char *problem = read_level(entry, level);
    if (problem) return problem;
    anchors += (uint64_t)level->rows * (uint64_t)level->columns * (uint64_t)level->shapes;
  }
  if (!anchors || anchors > MOST_ANCHORS) return "it has no anchors, or too many";
  if (anchors * (uint64_t)(rule->classes + 1 + COORDINATES) != (uint64_t)numbers)
    return "its detection does not fit the numbers it gives";
  rule->anchors = (uint32_t)anchors;
  return NULL;
}

/* -- arithmetic -------------------------------------------------------------------------------------------------------- */
static double exponential(double x) {
  if (x < lowest) return 0;
  double turns = rint(x * log2_e), value = 1;
  double rest = (x - turns * ln2_high) - turns * ln2_low;
  double factorial[TERMS + 1] = {1};
  for (int i = 1; i <= TERMS; i++) factorial[i] = factorial[i - 1] * i; /* exact */
  value = 1.0 / factorial[TERMS];
  for (int i = TERMS - 1; i >= 0; i--) value = value * rest + 1.0 / factorial[i];
  return ldexp(value, (int)turns);
}

/* What the probabilities of an anchor are made of; a total of 0 says that none of them can exceed the rule's. */
struct softmax {
  double best, total;
};

static struct softmax softmax_of(const float *scores, int count, double least) {
  double best = (double)scores[0], object = -INFINITY;
  for (int i = 0; i < count; i++) {
    double score = (double)scores[i];
    if (!isfinite(score)) return (struct softmax){0, 0};
    if (score > best) best = score;
    if (i && score > object) object = score;
  }
  if (object - best < least) return (struct softmax){0, 0}; /* the total is at least 1 */
  double total = 0;
  for (int i = 0; i < count; i++) total = total + exponential((double)scores[i] - best);
  return (struct softmax){best, total};
}

/* Centre x and y, width and height of an anchor. */
static void anchor_at(const struct box_rule *rule, uint32_t place, double grid[COORDINATES]) {
  const struct box_level *level = rule->level;
  for (;; level++) {
    uint32_t count = (uint32_t)level->rows * (uint32_t)level->columns * (uint32_t)level->shapes;
    if (place < count) break;
    place -= count;
  }
  uint32_t pixel = place / (uint32_t)level->shapes, columns = (uint32_t)level->columns;
  grid[0] = ((double)(pixel % columns) + 0.5) / level->columns;
  grid[1] = ((double)(pixel / columns) + 0.5) / level->rows;
  memcpy(grid + 2, level->sides[place % (uint32_t)level->shapes], 2 * sizeof *grid);
}

static double within(double value) { return value < 0 ? 0 : value > 1 ? 1 : value; }

static void decode_box(const struct box_rule *rule, const float *moves, struct box *box) {
  double grid[COORDINATES], move[COORDINATES];
  anchor_at(rule, box->anchor, grid);
  memset(box->edges, 0, sizeof box->edges);
  for (int i = 0; i < COORDINATES; i++) {
    move[i] = (double)moves[(size_t)box->anchor * COORDINATES + (size_t)i];
    if (!isfinite(move[i])) return;
  }
  for (int axis = 0; axis < 2; axis++) {
    double centre = move[axis] / 10.0 * grid[2 + axis] + grid[axis];
    double stretch = move[2 + axis] / 5.0;
    double side = exponential(stretch < largest_stretch ? stretch : largest_stretch) * grid[2 + axis];
    box->edges[axis] = within(centre - side * 0.5), box->edges[2 + axis] = within(centre + side * 0.5);
  }
}

static double area(const struct box *box) { return (box->edges[2] - box->edges[0]) * (box->edges[3] - box->edges[1]); }

static double shared_side(const struct box *a, const struct box *b, int axis) {
  double low = a->edges[axis] > b->edges[axis] ? a->edges[axis] : b->edges[axis];
  double high = a->edges[2 + axis] < b->edges[2 + axis] ? a->edges[2 + axis] : b->edges[2 + axis];
  return high - low > 0 ? high - low : 0;
}

static int overlaps(const struct box *kept, const struct box *box, double overlap) {
  double shared = shared_side(kept, box, 0) * shared_side(kept, box, 1);
  return shared > overlap * (area(kept) + area(box) - shared);
}

/* -- choice ------------------------------------------------------------------------------------------------------------ */
static int by_score(const void *left, const void *right) {
  const struct box *l = left, *r = right;
  if (l->score != r->score) return l->score > r->score ? -1 : 1;
  if (l->label != r->label) return l->label < r->label ? -1 : 1;
  return l->anchor < r->anchor ? -1 : l->anchor > r->anchor;
}

struct candidate {
  double score;
  uint32_t anchor;
};

static int by_candidate(const void *left, const void *right) {
  const struct candidate *l = left, *r = right;
  if (l->score != r->score) return l->score > r->score ? -1 : 1;
  return l->anchor < r->anchor ? -1 : l->anchor > r->anchor;
}

/* Writes the boxes of one class behind `found` and returns how many are kept. */
static int of_class(const struct box_rule *rule, const float *numbers, const struct softmax *softmaxes, int label,
                    struct candidate *candidates, struct box *found) {
  size_t count = 0, columns = (size_t)rule->classes + 1;
  for (uint32_t i = 0; i < rule->anchors; i++) {
    if (!(softmaxes[i].total > 0)) continue;
    double score = exponential((double)numbers[i * columns + (size_t)label] - softmaxes[i].best) / softmaxes[i].total;
    if (score > rule->score) candidates[count++] = (struct candidate){score, i};
  }
  qsort(candidates, count, sizeof *candidates, by_candidate);
  if (count > (size_t)rule->candidates) count = (size_t)rule->candidates;
  int kept = 0;
  for (size_t i = 0; i < count; i++) {
    struct box *box = &found[kept];
    *box = (struct box){candidates[i].score, label, candidates[i].anchor, {0, 0, 0, 0}};
    decode_box(rule, numbers + rule->anchors * columns, box);
    int dropped = !(area(box) > 0);
    for (int k = 0; k < kept && !dropped; k++) dropped = overlaps(&found[k], box, rule->overlap);
    kept += !dropped;
  }
  return kept;
}

int find_boxes(const struct box_rule *rule, const float *numbers, struct box *found) {
  struct softmax *softmaxes = malloc(rule->anchors * sizeof *softmaxes);
  struct candidate *candidates = malloc(rule->anchors * sizeof *candidates);
  int count = softmaxes && candidates ? 0 : -1;
  double least = rule->score > 0 ? log(rule->score) - margin : -INFINITY;
  for (uint32_t i = 0; !count && i < rule->anchors; i++)
    softmaxes[i] = softmax_of(numbers + (size_t)i * (size_t)(rule->classes + 1), rule->classes + 1, least);
  for (int label = 1; count >= 0 && label <= rule->classes; label++) {
    count += of_class(rule, numbers, softmaxes, label, candidates, found + count);
    qsort(found, (size_t)count, sizeof *found, by_score);
    if (count > rule->detections) count = rule->detections;
  }
  free(softmaxes);
  free(candidates);
  return count;
}
