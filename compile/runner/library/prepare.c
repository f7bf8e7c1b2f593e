/* From a picture as a camera or a decoder gives it to the bytes the network takes, as in training.
 *
 * Of rg_config.h this needs RG_HEIGHT, RG_WIDTH and RG_CHANNELS of the network's picture, RG_RULE, one of those below,
 * RG_RESIZE_HEIGHT and RG_RESIZE_WIDTH before the crop, and RG_CUBIC.
 */
#include "repghost.h"
#include "library/resample.h"
#include "library/rounding.h"
#include "rg_config.h"

#define EXPORT __attribute__((visibility("default")))

/* repghost/data/images/preprocess.py says what each rule does. */
enum {
  RG_NOT_KNOWN,  /* nothing says how pictures are prepared */
  RG_SHORT_SIDE, /* the short side becomes RG_RESIZE_HEIGHT, which RG_RESIZE_WIDTH equals */
  RG_COVER,      /* the picture just covers RG_RESIZE_HEIGHT and RG_RESIZE_WIDTH */
  RG_SQUASH      /* it becomes exactly as large */
};

enum { MOST_PIXELS = 89478485 }; /* repghost.data.images.decode.MAX_PIXELS: a larger picture is no picture */

/* Integer conversions of NV12, in units of 2^-16: luma * (Y - black), then the parts of Cr and Cb. */
struct matrix {
  int32_t black, luma, red_cr, green_cb, green_cr, blue_cb;
};

static const struct matrix matrices[] = {
    [RG_NV12 - RG_NV12] = {16, 76309, 104597, -25675, -53279, 132201},      /* BT.601, 16 to 235 */
    [RG_NV12_FULL - RG_NV12] = {0, 65536, 91881, -22553, -46802, 116130},   /* BT.601, 0 to 255, as in JPEG */
    [RG_NV12_BT709 - RG_NV12] = {16, 76309, 117489, -13975, -34925, 138438} /* BT.709, 16 to 235 */
};

/* Pictures of a network of 2 or 4 channels have these bands, which stay as they are. */
enum {
  GREY = RG_CHANNELS == 1,
  BANDS = RG_CHANNELS == 2 || RG_CHANNELS == 4,
  ORDER = RG_CHANNELS == 2 ? RG_GREY_AND_BAND : RG_RGB_AND_BAND,
  PIXEL = BANDS ? RG_CHANNELS : 3 /* bytes of a picture that is resized */
};

static uint8_t to_byte(int32_t value) { return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value); }

static void row_from_bgr(const uint8_t *row, int32_t width, uint8_t *out) {
  for (int32_t x = 0; x < width; x++, row += 3, out += 3) out[0] = row[2], out[1] = row[1], out[2] = row[0];
}

static void row_from_nv12(const struct matrix *m, const uint8_t *luma, const uint8_t *chroma, int32_t width,
                          uint8_t *out) {
  for (int32_t x = 0; x < width; x++, out += 3) {
    int32_t y = m->luma * (luma[x] - m->black) + (1 << 15);
    int32_t cb = chroma[x / 2 * 2] - 128, cr = chroma[x / 2 * 2 + 1] - 128;
    out[0] = to_byte((y + m->red_cr * cr) >> 16);
    out[1] = to_byte((y + m->green_cb * cb + m->green_cr * cr) >> 16);
    out[2] = to_byte((y + m->blue_cb * cb) >> 16);
  }
}

/* Returns row `y` as RGB: where it lies when it is that already, otherwise in `line`. */
static const uint8_t *rgb_row(const struct rg_picture *picture, int32_t y, uint8_t *line) {
  const uint8_t *row = picture->pixels + picture->stride * y;
  if (BANDS || picture->order == RG_RGB) return row;
  if (picture->order == RG_BGR) row_from_bgr(row, picture->width, line);
  else
    row_from_nv12(&matrices[picture->order - RG_NV12], row, picture->chroma + picture->chroma_stride * (y / 2),
                  picture->width, line);
  return line;
}

/* The luma of ITU-R BT.601 in units of 2^-16, rounded, as Pillow computes it, in all three colours of a pixel. */
static void row_to_grey(const uint8_t *row, int32_t width, uint8_t *out) {
  for (int32_t x = 0; x < width; x++, row += 3, out += 3)
    out[0] = out[1] = out[2] = (uint8_t)((row[0] * 19595 + row[1] * 38470 + row[2] * 7471 + (1 << 15)) >> 16);
}

static int64_t round_half_to_even(double x) {
  int64_t whole = (int64_t)x;
  double rest = x - (double)whole;
  return whole + (rest > 0.5 || (rest == 0.5 && whole % 2));
}

/* How long the `side` of a picture becomes that just covers; to be called in the default mode. */
static int64_t covering(int32_t side, int32_t width, int32_t height) {
  double rows = (double)height / RG_RESIZE_HEIGHT, columns = (double)width / RG_RESIZE_WIDTH;
  return round_half_to_even((double)side / (rows < columns ? rows : columns));
}

static int64_t covering_pixels(int32_t width, int32_t height) {
  uint64_t mode = enter_default_mode();
  int64_t pixels = covering(width, width, height) * covering(height, width, height);
  leave_default_mode(mode);
  return pixels;
}

static int too_short(ptrdiff_t stride, int32_t bytes) { return (stride < 0 ? -stride : stride) < bytes; }

static int refuse(const struct rg_picture *picture) {
  if (RG_RULE == RG_NOT_KNOWN) return RG_NOT_PREPARED;
  if (!picture || !picture->pixels) return RG_NULL_POINTER;
  int32_t width = picture->width, height = picture->height;
  if (width < 1 || height < 1 || (int64_t)width * height > MOST_PIXELS) return RG_WRONG_PICTURE;
  int32_t shorter = width < height ? width : height, longer = width < height ? height : width;
  if (RG_RULE == RG_SHORT_SIDE && (int64_t)RG_RESIZE_HEIGHT * longer / shorter * RG_RESIZE_HEIGHT > MOST_PIXELS)
    return RG_WRONG_PICTURE; /* too thin */
  if (RG_RULE == RG_COVER && covering_pixels(width, height) > MOST_PIXELS) return RG_WRONG_PICTURE;
  if (BANDS) return picture->order != ORDER || too_short(picture->stride, width * PIXEL) ? RG_WRONG_PICTURE : RG_DONE;
  if (picture->order == RG_RGB || picture->order == RG_BGR)
    return too_short(picture->stride, width * 3) ? RG_WRONG_PICTURE : RG_DONE;
  if (picture->order < RG_NV12 || picture->order > RG_NV12_BT709) return RG_WRONG_PICTURE;
  if (!picture->chroma) return RG_NULL_POINTER;
  int short_rows = too_short(picture->stride, width) || too_short(picture->chroma_stride, (width + 1) / 2 * 2);
  return short_rows ? RG_WRONG_PICTURE : RG_DONE;
}

/* A grey row is made of its three colours, which lie elsewhere until one of them is taken. */
enum {
  ROW_BYTES = RG_WIDTH * RG_CHANNELS,
  KEPT_BYTES = GREY ? (RG_WIDTH * 3 + 63) / 64 * 64 : 0
};

struct plan {
  struct axis x, y;
  size_t line_bytes, rows_bytes;
};

static size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Rows of the picture that the crop can touch: no more than the picture has. */
static int32_t most_rows(const struct axis *axis) {
  int64_t rows = axis->taps ? (int64_t)axis->count * axis->in / axis->out + 2 * (int64_t)axis->taps : axis->count;
  return rows < axis->in ? (int32_t)rows : axis->in;
}

static struct plan plan_of(const struct rg_picture *picture) {
  int32_t width = picture->width, height = picture->height;
  int32_t out_width = width <= height ? RG_RESIZE_HEIGHT : (int32_t)((int64_t)RG_RESIZE_HEIGHT * width / height);
  int32_t out_height = width <= height ? (int32_t)((int64_t)RG_RESIZE_HEIGHT * height / width) : RG_RESIZE_HEIGHT;
  if (RG_RULE == RG_SQUASH) out_width = RG_RESIZE_WIDTH, out_height = RG_RESIZE_HEIGHT;
  if (RG_RULE == RG_COVER)
    out_width = (int32_t)covering(width, width, height), out_height = (int32_t)covering(height, width, height);
  struct plan plan = {.x = axis_of(width, out_width, RG_WIDTH, RG_CUBIC)};
  plan.y = axis_of(height, out_height, RG_HEIGHT, RG_CUBIC);
  plan.line_bytes = BANDS || (picture->order == RG_RGB && !GREY) ? 0 : round_up((size_t)width * 3);
  plan.rows_bytes = plan.y.taps ? round_up((size_t)most_rows(&plan.y) * ROW_BYTES) : 0;
  return plan;
}

EXPORT size_t rg_prepare_bytes(const struct rg_picture *picture) {
  if (refuse(picture)) return 0;
  uint64_t mode = enter_default_mode();
  struct plan plan = plan_of(picture);
  leave_default_mode(mode);
  size_t bytes = round_up(axis_bytes(&plan.x)) + round_up(axis_bytes(&plan.y)) + plan.line_bytes + plan.rows_bytes;
  bytes += KEPT_BYTES;
  return bytes ? bytes : RG_WORKSPACE_ALIGNMENT;
}

static void keep_columns(const struct axis *axis, const uint8_t *line, uint8_t *out) {
  if (axis->taps && !BANDS) {
    resample_row(axis, line, out);
    return;
  }
  if (axis->taps) { /* a row is a column whose rows are pixels */
    for (int32_t i = 0; i < axis->count; i++) resample_column(axis, i, line, 0, PIXEL, out + (size_t)i * PIXEL);
    return;
  }
  const uint8_t *first = line + (size_t)axis->first * PIXEL;
  for (int32_t i = 0; i < axis->count * PIXEL; i++) out[i] = first[i];
}

/* Makes the kept columns of row `y` grey; `line` has room for the whole row, and behind it for the kept colours. */
static void keep_grey(const struct plan *plan, const struct rg_picture *picture, int32_t y, uint8_t *line,
                      uint8_t *out) {
  uint8_t *kept = line + plan->line_bytes;
  row_to_grey(rgb_row(picture, y, line), picture->width, line);
  keep_columns(&plan->x, line, kept);
  for (int32_t x = 0; x < RG_WIDTH; x++) out[x] = kept[3 * x];
}

EXPORT int rg_prepare(const struct rg_picture *picture, uint8_t *rgb, void *scratch) {
  int status = refuse(picture);
  if (status) return status;
  if (!rgb || !scratch) return RG_NULL_POINTER;
  if ((uintptr_t)scratch % RG_WORKSPACE_ALIGNMENT) return RG_UNALIGNED;
  uint64_t mode = enter_default_mode();
  struct plan plan = plan_of(picture);
  uint8_t *y_weights = (uint8_t *)scratch + round_up(axis_bytes(&plan.x));
  uint8_t *line = y_weights + round_up(axis_bytes(&plan.y));
  uint8_t *rows = plan.y.taps ? line + plan.line_bytes + KEPT_BYTES : rgb;
  axis_fill(&plan.x, scratch);
  axis_fill(&plan.y, y_weights);
  leave_default_mode(mode);
  int32_t begin, end, row_bytes = ROW_BYTES;
  axis_range(&plan.y, &begin, &end);
  for (int32_t y = begin; y < end; y++)
    if (GREY) keep_grey(&plan, picture, y, line, rows + (size_t)(y - begin) * (size_t)row_bytes);
    else keep_columns(&plan.x, rgb_row(picture, y, line), rows + (size_t)(y - begin) * (size_t)row_bytes);
  for (int32_t i = 0; plan.y.taps && i < plan.y.count; i++)
    resample_column(&plan.y, i, rows, begin, row_bytes, rgb + (size_t)i * (size_t)row_bytes);
  return RG_DONE;
}
