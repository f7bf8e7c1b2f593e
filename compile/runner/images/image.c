#include "images/image.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle/bundle.h"
#include "images/decode.h"

static const size_t largest_file = (size_t)1 << 28, largest_text = (size_t)1 << 24;

/* No encoding of a pixel is longer than 8 bytes, and a file may hold metadata or a short film besides. */
static size_t file_limit(int32_t most) {
  size_t limit = (size_t)most * 8 + largest_text;
  return limit < largest_file ? limit : largest_file;
}

static const char *sentence(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *sentence(const char *format, ...) {
  static char text[1 << 13];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

/* Reads white space and comments, then a decimal number; returns -1 when there is none or it is too large. */
static long ppm_number(const struct file *file, size_t *at) {
  const uint8_t *data = file->data;
  while (*at < file->size && data[*at] && (strchr(" \t\r\n", data[*at]) || data[*at] == '#')) {
    if (data[*at] == '#') {
      while (*at < file->size && data[*at] != '\n') ++*at;
    } else {
      ++*at;
    }
  }
  long value = 0;
  size_t first = *at;
  while (*at < file->size && data[*at] >= '0' && data[*at] <= '9') {
    value = value * 10 + (data[(*at)++] - '0');
    if (value > 1 << 24) return -1;
  }
  return *at > first ? value : -1;
}

/* A binary PPM file, or PGM, which is grey. */
static int is_ppm(const struct file *file) {
  return file->size >= 2 && (!memcmp(file->data, "P6", 2) || !memcmp(file->data, "P5", 2));
}

/* Reads a PPM or PGM file into memory from malloc. */
static const char *read_ppm(const struct file *file, int32_t most_pixels, struct pixels *pixels) {
  size_t at = 2, channels = file->data[1] == '6' ? 3 : 1;
  long width = ppm_number(file, &at), height = ppm_number(file, &at), most = ppm_number(file, &at);
  if (width < 1 || height < 1 || most != 255) return "a PPM file has to give a width, a height and 255";
  const char *problem = too_large((uint64_t)width, (uint64_t)height, most_pixels);
  if (problem) return problem;
  size_t count = (size_t)width * (size_t)height;
  if (file->size - at != count * channels + 1) return "it does not hold exactly the pixels it says";
  *pixels = (struct pixels){(int32_t)width, (int32_t)height, malloc(count * 3)};
  if (!pixels->rgb) return "there is not enough memory to read it";
  const uint8_t *given = file->data + at + 1; /* one white space comes before */
  for (size_t i = 0; i < count * 3; i++) pixels->rgb[i] = given[channels == 3 ? i : i / 3];
  return NULL;
}

const char *prepare_picture(const struct model *model, const struct rg_picture *picture, uint8_t *rgb) {
  size_t bytes = model->prepare_bytes(picture);
  void *scratch = NULL;
  if (!bytes) return "it is too long and thin to be resized, or the network does not say how; crop it first";
  if (posix_memalign(&scratch, RG_WORKSPACE_ALIGNMENT, bytes)) return "there is not enough memory to resize it";
  int status = model->prepare(picture, rgb, scratch);
  free(scratch);
  return status ? "it cannot be resized" : NULL;
}

static const char *prepare(const struct model *model, const struct pixels *pixels, uint8_t *rgb) {
  struct rg_picture picture = {
      .pixels = pixels->rgb, .width = pixels->width, .height = pixels->height, .order = RG_RGB};
  if (keeps_bands(model)) picture.order = model->channels == 2 ? RG_GREY_AND_BAND : RG_RGB_AND_BAND;
  picture.stride = (ptrdiff_t)pixels->width * pixel_bytes(model);
  return prepare_picture(model, &picture, rgb);
}

/* Takes the bytes of a picture that is prepared already: of one channel, each pixel becomes three equal bytes. */
static const char *take_prepared(const struct model *model, const uint8_t *rgb, struct pixels *pixels) {
  size_t bytes = (size_t)model->width * (size_t)model->height * (size_t)pixel_bytes(model);
  *pixels = (struct pixels){model->width, model->height, malloc(bytes)};
  if (!pixels->rgb) return "there is not enough memory to read it";
  for (size_t i = 0; i < bytes; i++) pixels->rgb[i] = rgb[model->channels == 1 ? i / 3 : i];
  return NULL;
}

static const char *read_pixels(const struct model *model, const struct file *file, int encoded, int32_t most_pixels,
                               struct pixels *pixels) {
  if (!keeps_bands(model))
    return encoded ? decode(file->data, file->size, most_pixels, pixels) : read_ppm(file, most_pixels, pixels);
  if (encoded) return decode_bands(file->data, file->size, most_pixels, model->channels, pixels);
  return "the network takes pictures of more bands than PPM and PGM files have; save it as PNG with alpha";
}

/* Leaves the picture itself in `pixels`; nothing is allocated where there is a problem. */
static const char *to_network(const struct model *model, const struct file *file, const char *path,
                              int32_t most_pixels, uint8_t *rgb, struct pixels *pixels) {
  size_t prepared = picture_bytes(model);
  const char *problem = NULL;
  int encoded = is_encoded(file->data, file->size);
  if (encoded || (is_ppm(file) && file->size != prepared)) {
    problem = read_pixels(model, file, encoded, most_pixels, pixels);
    if (!problem && (problem = prepare(model, pixels, rgb))) free(pixels->rgb);
  } else if (file->size == prepared) {
    memcpy(rgb, file->data, prepared);
    problem = take_prepared(model, rgb, pixels);
  } else {
    static const char *const words[] = {"grey", "grey and one band", "RGB", "RGB and one band"};
    return sentence("%s is no picture that can be read: %s, or %zu raw bytes (%d x %d, %s)", path,
                    keeps_bands(model) ? "PNG with alpha" : "JPEG, PNG, binary PPM or PGM", prepared, model->width,
                    model->height, words[model->channels - 1]);
  }
  return problem ? sentence("%s is no picture that can be read: %s", path, problem) : NULL;
}

const char *load_pixels(const struct model *model, const char *path, int32_t most_pixels, uint8_t *rgb,
                        struct pixels *pixels) {
  struct file file;
  *pixels = (struct pixels){0, 0, NULL};
  const char *problem = try_read_file(path, file_limit(most_pixels), &file);
  if (problem) return problem;
  problem = to_network(model, &file, path, most_pixels, rgb, pixels);
  free(file.data);
  return problem;
}

const char *load_picture(const struct model *model, const char *path, int32_t most_pixels, uint8_t *rgb) {
  struct pixels pixels;
  const char *problem = load_pixels(model, path, most_pixels, rgb, &pixels);
  if (!problem) free(pixels.rgb);
  return problem;
}
