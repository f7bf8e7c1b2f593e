/* model.so, loaded. */
#ifndef RG_MODEL_H
#define RG_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "inference/pool.h"
#include "repghost.h"

struct model {
  int height, width, channels;
  int classes; /* how many numbers it gives */
  int several; /* whether they are those of several results, not scores of classes */
  const char *info; /* the JSON text of rg_info */
  const char *(*variant)(void);
  size_t (*prepare_bytes)(const struct rg_picture *);
  int (*prepare)(const struct rg_picture *, uint8_t *, void *);
  int (*infer)(const uint8_t *, float *, void *);
  int (*infer_parallel)(const uint8_t *, float *, void *, int (*)(void *, void (*)(void *, int), void *, int), void *, int);
  int (*run_step)(int32_t, const uint8_t *, float *, void *); /* null unless model.so is a profiling build */
  int steps;                                                  /* 0 unless model.so is a profiling build */
  void *workspace;
  struct pool *pool; /* null with one thread */
  int threads;
};

/* How many bytes the network's picture has. */
static inline size_t picture_bytes(const struct model *model) {
  return (size_t)model->height * (size_t)model->width * (size_t)model->channels;
}

/* Whether the network takes the bands of a picture as they are stored, two or four; others take RGB. */
static inline int keeps_bands(const struct model *model) { return model->channels == 2 || model->channels == 4; }

/* Bytes of a pixel of the pictures it takes, before a network of one channel makes them grey. */
static inline int pixel_bytes(const struct model *model) { return keeps_bands(model) ? model->channels : 3; }

/* Loads `path`, whose digest must have been checked before, and selects `variant` (null: the best one).
 * Ends the program when the file cannot be loaded or this core cannot run it. */
struct model load_model(const char *path, const char *variant, int threads);

/* Runs one inference; ends the program when it fails. */
void infer(const struct model *model, const uint8_t *rgb, float *logits);

#endif
