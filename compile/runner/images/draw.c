#include "images/draw.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { COLOURS = 6, THIN = 256 }; /* a line is a pixel thick in pictures of up to so many */

static const uint8_t colours[COLOURS][3] = {{230, 25, 75}, {60, 180, 75}, {0, 130, 200}, {245, 130, 48}, {145, 30, 180}, {255, 225, 25}};

static int32_t limited(double value, int32_t most) { return !(value > 0) ? 0 : value >= most ? most : (int32_t)value; }

static void fill(struct pixels *pixels, int32_t left, int32_t top, int32_t right, int32_t bottom, const uint8_t *colour) {
  for (int32_t y = top < 0 ? 0 : top; y < bottom && y < pixels->height; y++) {
    for (int32_t x = left < 0 ? 0 : left; x < right && x < pixels->width; x++)
      memcpy(pixels->rgb + ((size_t)y * (size_t)pixels->width + (size_t)x) * 3, colour, 3);
  }
}

void draw_box(struct pixels *pixels, const double edges[4], int number) {
  const uint8_t *colour = colours[(unsigned)number % COLOURS];
  int32_t left = limited(edges[0], pixels->width), top = limited(edges[1], pixels->height);
  int32_t right = limited(edges[2] + 0.999, pixels->width), bottom = limited(edges[3] + 0.999, pixels->height);
  int32_t line = 1 + (pixels->width > pixels->height ? pixels->width : pixels->height) / THIN;
  int32_t low = top + line < bottom ? top + line : bottom, high = bottom - line > top ? bottom - line : top;
  fill(pixels, left, top, right, low, colour);
  fill(pixels, left, high, right, bottom, colour);
  fill(pixels, left, top, left + line < right ? left + line : right, bottom, colour);
  fill(pixels, right - line > left ? right - line : left, top, right, bottom, colour);
}

static const char *failure(const char *path, int error) {
  static char text[4096];
  snprintf(text, sizeof text, "cannot write %.3900s: %s", path, strerror(error));
  return text;
}

const char *write_ppm(const char *path, const struct pixels *pixels) {
  char part[4096];
  size_t size = (size_t)pixels->width * (size_t)pixels->height * 3;
  if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part) return failure(path, ENAMETOOLONG);
  FILE *file = fopen(part, "wbx"); /* nothing that lies there is overwritten, and no link is followed */
  if (!file) return failure(part, errno);
  int whole = fprintf(file, "P6\n%d %d\n255\n", pixels->width, pixels->height) > 0 && fwrite(pixels->rgb, 1, size, file) == size;
  int error = whole ? 0 : errno;
  if (fclose(file) && !error) error = errno ? errno : EIO;
  if (!error && rename(part, path)) error = errno;
  if (!error && whole) return NULL;
  remove(part);
  return failure(path, error ? error : EIO);
}
