/* The weights are computed in double precision and rounded to 22 bits, the sums are integers: the bytes are the same on
 * every machine, and those of Pillow. A multiplication and an addition must not be fused, that would round differently.
 */
#include "library/resample.h"

#pragma STDC FP_CONTRACT OFF

enum { BITS = 22 }; /* of the fraction of a weight */

static double absolute(double x) { return x < 0 ? -x : x; }

static double bilinear(double x) {
  x = absolute(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

/* Keys' cubic convolution with a = -1/2. */
static double bicubic(double x) {
  x = absolute(x);
  if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5;
  return 0.0;
}

/* What one resized pixel is made of: the filter is as wide as it is for enlarging, or as the pixels that become one. */
struct window {
  double center, narrowing, support;
};

static struct window window_of(const struct axis *axis, int32_t index) {
  double scale = (double)axis->in / axis->out, widening = scale < 1.0 ? 1.0 : scale;
  return (struct window){((double)index + 0.5) * scale, 1.0 / widening, (axis->cubic ? 2.0 : 1.0) * widening};
}

static double weight_of(const struct axis *axis, const struct window *window, int32_t at) {
  double x = ((double)at - window->center + 0.5) * window->narrowing;
  return axis->cubic ? bicubic(x) : bilinear(x);
}

static int32_t most_taps(const struct axis *axis) {
  double support = window_of(axis, 0).support;
  int32_t whole = (int32_t)support;
  return (whole + (whole < support)) * 2 + 1;
}

/* Half a pixel more on one side of an odd margin goes where rounding half to even puts it. */
static int32_t margin(int32_t out, int32_t count) {
  int32_t half = (out - count) / 2;
  return (out - count) % 2 ? half + half % 2 : half;
}

struct axis axis_of(int32_t in, int32_t out, int32_t count, int cubic) {
  struct axis axis = {.in = in, .out = out, .first = margin(out, count), .count = count, .cubic = cubic};
  if (in != out) axis.taps = most_taps(&axis);
  return axis;
}

size_t axis_bytes(const struct axis *axis) {
  return axis->taps ? (size_t)axis->count * ((size_t)axis->taps + 2) * sizeof(int32_t) : 0;
}

static int32_t fixed_point(double weight) {
  double scaled = weight * (1 << BITS);
  return (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
}

static void fill_one(struct axis *axis, int32_t index) {
  struct window window = window_of(axis, axis->first + index);
  int32_t begin = (int32_t)(window.center - window.support + 0.5);
  int32_t end = (int32_t)(window.center + window.support + 0.5);
  if (begin < 0) begin = 0;
  if (end > axis->in) end = axis->in;
  double sum = 0;
  for (int32_t at = begin; at < end; at++) sum += weight_of(axis, &window, at);
  axis->start[index] = begin, axis->used[index] = end - begin;
  int32_t *weights = axis->weights + (size_t)index * (size_t)axis->taps;
  for (int32_t at = begin; at < end; at++) {
    double weight = weight_of(axis, &window, at);
    weights[at - begin] = fixed_point(sum != 0 ? weight / sum : weight);
  }
}

void axis_fill(struct axis *axis, void *memory) {
  if (!axis->taps) return;
  axis->start = memory;
  axis->used = axis->start + axis->count;
  axis->weights = axis->used + axis->count;
  for (int32_t index = 0; index < axis->count; index++) fill_one(axis, index);
}

void axis_range(const struct axis *axis, int32_t *begin, int32_t *end) {
  int32_t last = axis->count - 1;
  *begin = axis->taps ? axis->start[0] : axis->first;
  *end = axis->taps ? axis->start[last] + axis->used[last] : axis->first + axis->count;
}

static uint8_t to_byte(int32_t sum) {
  int32_t value = sum >> BITS;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

void resample_row(const struct axis *axis, const uint8_t *line, uint8_t *out) {
  for (int32_t index = 0; index < axis->count; index++, out += 3) {
    const int32_t *weights = axis->weights + (size_t)index * (size_t)axis->taps;
    const uint8_t *pixel = line + (size_t)axis->start[index] * 3;
    int32_t red = 1 << (BITS - 1), green = red, blue = red;
    for (int32_t tap = 0; tap < axis->used[index]; tap++, pixel += 3) {
      red += pixel[0] * weights[tap];
      green += pixel[1] * weights[tap];
      blue += pixel[2] * weights[tap];
    }
    out[0] = to_byte(red), out[1] = to_byte(green), out[2] = to_byte(blue);
  }
}

void resample_column(const struct axis *axis, int32_t index, const uint8_t *rows, int32_t begin, int32_t width,
                     uint8_t *out) {
  const int32_t *weights = axis->weights + (size_t)index * (size_t)axis->taps;
  const uint8_t *first = rows + (size_t)(axis->start[index] - begin) * (size_t)width;
  for (int32_t x = 0; x < width; x++) {
    int32_t sum = 1 << (BITS - 1);
    for (int32_t tap = 0; tap < axis->used[index]; tap++)
      sum += first[(size_t)tap * (size_t)width + (size_t)x] * weights[tap];
    out[x] = to_byte(sum);
  }
}
