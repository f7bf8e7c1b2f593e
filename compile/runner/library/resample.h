/* Resizing as Pillow does it: one axis after the other, the result rounded to bytes after each. */
#ifndef RG_RESAMPLE_H
#define RG_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

/* One axis of a picture that is resized and then cropped. */
struct axis {
  int32_t in;     /* pixels of the picture */
  int32_t out;    /* pixels after resizing; equal to `in` when the axis stays as it is */
  int32_t first;  /* of the resized pixels, the first one that is kept */
  int32_t count;  /* how many are kept */
  int32_t taps;   /* most pixels of the picture that one resized pixel is made of; 0 when the axis stays */
  int cubic;      /* the filter: bicubic, or else bilinear */
  int32_t *start; /* [count], of each kept pixel the first pixel of the picture it is made of */
  int32_t *used;  /* [count], and how many */
  int32_t *weights; /* [count][taps], in units of 2^-22 */
};

struct axis axis_of(int32_t in, int32_t out, int32_t count, int cubic);

/* How many bytes `axis_fill` needs; a multiple of 4. */
size_t axis_bytes(const struct axis *axis);

/* Computes the weights into `memory`, which is aligned to 4 bytes. */
void axis_fill(struct axis *axis, void *memory);

/* The rows or columns of the picture that the kept pixels are made of: [*begin, *end). */
void axis_range(const struct axis *axis, int32_t *begin, int32_t *end);

/* Makes the kept pixels of one row: `line` is uint8 [in][3], `out` uint8 [count][3]. */
void resample_row(const struct axis *axis, const uint8_t *line, uint8_t *out);

/* Makes kept row `index`: `rows` holds the rows from `begin` on, each of `width` bytes; `out` is uint8 [width]. */
void resample_column(const struct axis *axis, int32_t index, const uint8_t *rows, int32_t begin, int32_t width,
                     uint8_t *out);

#endif
