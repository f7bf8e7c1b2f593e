#include "bundle/vectors.h"

#include <math.h>
#include <string.h>

#include "bundle/bundle.h"

enum { HEADER = 32, RGB_CHANNELS = 3 };
static const size_t vectors_limit = (size_t)1 << 30;

struct vectors {
  uint32_t count;
  float tolerance;
  size_t picture_bytes;
  const uint8_t *pictures, *logits;
};

static uint32_t number(const uint8_t *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static float real(const uint8_t *at) {
  uint32_t bits = number(at);
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static struct vectors open_vectors(const struct model *model, const char *path) {
  struct file file = read_file(path, vectors_limit, EXIT_USAGE);
  const uint8_t *data = file.data;
  if (file.size < HEADER || memcmp(data, "RGVEC\0\0\1", 8)) stop(EXIT_INTEGRITY, "%s is no vectors file", path);
  if (number(data + 12) != (uint32_t)model->height || number(data + 16) != (uint32_t)model->width ||
      number(data + 20) != (uint32_t)model->classes)
    stop(EXIT_INTEGRITY, "%s holds pictures of %ux%u and %u classes, the model takes %dx%d and has %d", path,
         number(data + 12), number(data + 16), number(data + 20), model->height, model->width, model->classes);
  uint32_t channels = number(data + 28) ? number(data + 28) : RGB_CHANNELS;
  if (channels != (uint32_t)model->channels)
    stop(EXIT_INTEGRITY, "%s holds pictures of %u channels, the model takes %d", path, channels, model->channels);
  struct vectors v = {number(data + 8), real(data + 24), picture_bytes(model), data + HEADER, NULL};
  uint64_t pictures = ((uint64_t)v.count * v.picture_bytes + 3) / 4 * 4;
  uint64_t expected = HEADER + pictures + (uint64_t)v.count * (uint64_t)model->classes * sizeof(float);
  if (v.count == 0 || file.size != expected)
    stop(EXIT_INTEGRITY, "%s has %zu bytes, %u pictures need %llu", path, file.size, v.count, (unsigned long long)expected);
  if (!isfinite(v.tolerance) || v.tolerance < 0) stop(EXIT_INTEGRITY, "%s: the tolerance is negative or not a number", path);
  v.logits = data + HEADER + pictures;
  return v;
}

/* Equal bits are equal; otherwise only a tolerance above 0 can make up for a difference. */
static int differs(float got, float expected, float tolerance, double *largest) {
  if (!memcmp(&got, &expected, sizeof got)) return 0;
  double distance = fabs((double)got - (double)expected);
  if (!(distance <= *largest)) *largest = distance;
  return !(tolerance > 0 && distance <= (double)tolerance);
}

struct replay replay_vectors(const struct model *model, const char *path) {
  struct vectors v = open_vectors(model, path);
  struct replay result = {v.count, 0, 0, v.tolerance};
  float *logits = allocate((size_t)model->classes * sizeof *logits);
  for (uint32_t i = 0; i < v.count; i++) {
    int wrong = 0;
    memset(logits, 0xff, (size_t)model->classes * sizeof *logits); /* not a number: a class left out is noticed */
    infer(model, v.pictures + i * v.picture_bytes, logits);
    for (int c = 0; c < model->classes; c++) {
      const uint8_t *expected = v.logits + ((size_t)i * (size_t)model->classes + (size_t)c) * sizeof(float);
      wrong |= differs(logits[c], real(expected), v.tolerance, &result.largest);
    }
    result.mismatches += (uint32_t)wrong;
  }
  return result;
}

const uint8_t *first_picture(const struct model *model, const char *path) { return open_vectors(model, path).pictures; }
