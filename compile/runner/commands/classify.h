/* Naming what is on pictures. */
#ifndef RG_CLASSIFY_H
#define RG_CLASSIFY_H

#include "inference/model.h"

struct ranked {
  float logit;
  int index; /* of the class */
};

struct labels {
  const char **lines; /* [classes + 1], where each name begins; one name a line */
};

/* Reads labels.txt of a bundle. */
struct labels *read_labels(const char *folder, int classes);

/* Prints the name of a class as a JSON string. */
void print_label(const struct labels *labels, int index);

struct classifier {
  const struct model *model;
  const char *command; /* as it stands in the output: "classify" or "watch" */
  struct labels *labels;
  uint8_t *rgb;  /* the prepared picture */
  float *logits;
  struct ranked *ranked; /* the classes, sorted */
  int top;       /* how many classes are named */
  int32_t most_pixels; /* of a picture */
};

/* Reads the labels of the bundle in `folder`. */
struct classifier new_classifier(const struct model *model, const char *command, const char *folder, int top,
                                 int32_t most_pixels);

/* Prints the best classes of a picture as one JSON object. Returns null, or a sentence when it cannot be read. */
const char *classify(const struct classifier *classifier, const char *path);

/* Ends the JSON object of a picture, whose scores are in `logits`, with the time it took and its best classes. */
void print_result(const struct classifier *classifier, double prepare_ms, double infer_ms);

#endif
