/* From the numbers that a detector gives to boxes, to the bit as repghost/detection/find_boxes.py does, which defines it. */
#ifndef RG_BOXES_H
#define RG_BOXES_H

#include <stddef.h>
#include <stdint.h>

#include "bundle/json.h"

enum { MOST_CLASSES = 1000, MOST_LEVELS = 16, MOST_SHAPES = 64, MOST_SIDE = 1 << 12, MOST_ANCHORS = 1 << 20, MOST_KEPT = 1000 };

struct box_level {
  int rows, columns, shapes;
  double sides[MOST_SHAPES][2]; /* width and height of each shape of anchor, as shares of the picture's */
};

struct box_rule {
  int classes, candidates, detections, levels;
  double score, overlap;
  uint32_t anchors; /* of all levels */
  struct box_level level[MOST_LEVELS];
};

struct box {
  double score;    /* probability */
  int label;       /* from 1 */
  uint32_t anchor; /* its place */
  double edges[4]; /* left, top, right, bottom, as shares of the picture's width and height */
};

/* Reads "detection" of rg_info, for a network of so many numbers. Returns null, or what is wrong with it. */
const char *read_box_rule(const struct json *detection, int numbers, struct box_rule *rule);

/* Returns how many boxes there are, the most probable first, or -1 when there is not enough memory.
 *   found  [detections + candidates], written; what follows the boxes is of no use */
int find_boxes(const struct box_rule *rule, const float *numbers, struct box *found);

#endif
