#include "image.h"

#include <string.h>

#include "bundle.h"

static const size_t picture_limit = (size_t)1 << 28;

/* Reads white space and comments, then a decimal number; returns -1 when there is none or it is too large. */
static long ppm_number(const struct file *file, size_t *at) {
  const uint8_t *data = file->data;
  while (*at < file->size && (strchr(" \t\r\n", data[*at]) || data[*at] == '#')) {
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
    if (value > 1 << 20) return -1;
  }
  return *at > first ? value : -1;
}

uint8_t *read_picture(const char *path, int width, int height) {
  struct file file = read_file(path, picture_limit, EXIT_USAGE);
  size_t bytes = (size_t)width * (size_t)height * 3, at = 2;
  if (file.size == bytes) return file.data;
  if (file.size < 2 || memcmp(file.data, "P6", 2))
    stop(EXIT_USAGE, "%s is neither a binary PPM (P6) nor %zu raw bytes (%d x %d, RGB)", path, bytes, width, height);
  long found_width = ppm_number(&file, &at), found_height = ppm_number(&file, &at), most = ppm_number(&file, &at);
  if (found_width != width || found_height != height || most != 255)
    stop(EXIT_USAGE, "%s is %ld x %ld with values up to %ld; the network takes %d x %d with values up to 255", path,
         found_width, found_height, most, width, height);
  if (file.size - at != bytes + 1) stop(EXIT_USAGE, "%s does not hold exactly %zu bytes of pixels", path, bytes);
  return file.data + at + 1; /* one white space stands before the pixels */
}
