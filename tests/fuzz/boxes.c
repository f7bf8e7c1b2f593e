/* The rule of a detector's boxes, and the numbers of its network: JSON, a zero byte, then bytes of floats. Whatever they are,
 * no more boxes come out than the rule allows, all on the picture. */
#include "arena.h"
#include "bundle/json.c"
#include "inference/boxes.c"

enum { MOST = 4096 }; /* anchors, for an input to be quick */

static long numbers_of(const struct box_rule *rule) {
  long anchors = 0;
  for (int i = 0; i < rule->levels; i++) {
    const struct box_level *level = &rule->level[i];
    anchors += (long)level->rows * level->columns * level->shapes;
  }
  return anchors > MOST ? 0 : anchors * (rule->classes + 1 + COORDINATES);
}

static void check(const struct box_rule *rule, const uint8_t *bytes, size_t size, size_t count) {
  float *numbers = malloc(count * sizeof *numbers);
  struct box *found = malloc((size_t)(rule->detections + rule->candidates) * sizeof *found);
  for (size_t i = 0; i < count * sizeof *numbers; i++) ((uint8_t *)numbers)[i] = size ? bytes[i % size] : 0;
  int boxes = find_boxes(rule, numbers, found);
  REQUIRE(boxes >= 0 && boxes <= rule->detections);
  for (int i = 0; i < boxes; i++) {
    const struct box *box = &found[i];
    REQUIRE(box->score > rule->score && box->score <= 1 && box->label >= 1 && box->label <= rule->classes);
    REQUIRE(box->edges[0] >= 0 && box->edges[1] >= 0 && box->edges[2] <= 1 && box->edges[3] <= 1);
    REQUIRE(box->edges[0] < box->edges[2] && box->edges[1] < box->edges[3] && (!i || box->score <= found[i - 1].score));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct box_rule rule;
  const uint8_t *zero = memchr(data, 0, size);
  size_t text = zero ? (size_t)(zero - data) : size;
  const char *error = NULL;
  const struct json *value = json_parse((const char *)data, text, &error);
  read_box_rule(value, 1, &rule);
  long count = numbers_of(&rule);
  if (count > 0 && rule.classes * count < 1 << 22 && !read_box_rule(value, (int)count, &rule))
    check(&rule, data + text, size - text, (size_t)count);
  arena_clear();
  return 0;
}
