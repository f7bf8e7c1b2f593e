/* Finding objects on pictures. */
#ifndef RG_DETECT_H
#define RG_DETECT_H

#include "inference/boxes.h"
#include "inference/model.h"

struct detector {
  const struct model *model;
  struct labels *labels;
  struct box_rule *rule;
  struct box *found;
  uint8_t *rgb; /* the prepared picture */
  float *numbers;
  int32_t most_pixels; /* of a picture */
};

/* Reads the labels of the bundle in `folder`; ends the program when the network is no detector. */
struct detector new_detector(const struct model *model, const char *folder, int32_t most_pixels);

/* Prints the boxes of a picture as one JSON object, in pixels of the picture, and writes it with its boxes to `drawn`,
 * unless that is null. Returns null, or a sentence when the picture cannot be read or written. */
const char *detect(const struct detector *detector, const char *path, const char *drawn);

#endif
