#include "images/orientation.h"

#include <string.h>

enum { UPRIGHT = 1, LAST = 8, TAG = 0x0112, ENTRY_BYTES = 12, TYPE_SHORT = 3, TYPE_LONG = 4 };

struct bytes {
  const uint8_t *data;
  size_t size;
};

static uint32_t big_endian(const uint8_t *at, int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; i++) value = value << 8 | at[i];
  return value;
}

static uint32_t number(const uint8_t *at, int count, int little) {
  uint32_t value = 0;
  for (int i = count - 1; little && i >= 0; i--) value = value << 8 | at[i];
  return little ? value : big_endian(at, count);
}

/* Reads the tag from the first directory of a TIFF structure; returns 0 when it is not there. */
static int from_tiff(struct bytes tiff) {
  if (tiff.size < 8) return 0;
  int little = !memcmp(tiff.data, "II*\0", 4), found = 0;
  if (!little && memcmp(tiff.data, "MM\0*", 4)) return 0;
  size_t at = number(tiff.data + 4, 4, little);
  if (at > tiff.size || tiff.size - at < 2) return 0;
  uint32_t entries = number(tiff.data + at, 2, little);
  at += 2;
  for (uint32_t i = 0; i < entries && tiff.size - at >= ENTRY_BYTES; i++, at += ENTRY_BYTES) {
    const uint8_t *entry = tiff.data + at;
    uint32_t type = number(entry + 2, 2, little);
    if (number(entry, 2, little) != TAG || number(entry + 4, 4, little) != 1) continue;
    if (type != TYPE_SHORT && type != TYPE_LONG) continue;
    found = (int)(number(entry + 8, type == TYPE_SHORT ? 2 : 4, little) & 0xffff);
  }
  return found;
}

/* Reads tiff:Orientation="6" or <tiff:Orientation>6 from an XMP packet; returns 0 when it is not there. */
static int from_xmp(struct bytes xmp) {
  static const char name[] = "tiff:Orientation";
  const size_t length = sizeof name - 1;
  for (size_t at = 0; at + length + 3 <= xmp.size; at++) {
    const uint8_t *after = xmp.data + at + length;
    if (memcmp(xmp.data + at, name, length)) continue;
    if (after[0] == '>' && after[1] >= '0' && after[1] <= '9') return after[1] - '0';
    if (after[0] == '=' && after[1] == '"' && after[2] >= '0' && after[2] <= '9') return after[2] - '0';
  }
  return 0;
}

/* Where a file keeps its metadata; a size of 0 where it has none. */
struct metadata {
  struct bytes exif, xmp;
};

static int begins(struct bytes text, const char *prefix, size_t length) {
  return text.size >= length && !memcmp(text.data, prefix, length);
}

static struct bytes after(struct bytes text, size_t length) {
  return (struct bytes){text.data + length, text.size - length};
}

static struct metadata in_jpeg(struct bytes file) {
  static const char exif[] = "Exif\0", xmp[] = "http://ns.adobe.com/xap/1.0/";
  struct metadata found = {{NULL, 0}, {NULL, 0}};
  size_t at = 2;
  while (file.size - at >= 4) {
    if (file.data[at] != 0xff) return found;
    uint8_t marker = file.data[at + 1];
    if (marker == 0xff || marker == 0x01 || (marker >= 0xd0 && marker <= 0xd7)) { /* a fill byte, or without a length */
      at += marker == 0xff ? 1 : 2;
      continue;
    }
    size_t length = big_endian(file.data + at + 2, 2);
    if (marker == 0xda || marker == 0xd9 || length < 2 || length > file.size - at - 2) return found;
    struct bytes segment = {file.data + at + 4, length - 2};
    int first_exif = !found.exif.size && begins(segment, exif, sizeof exif);
    if (marker == 0xe1 && first_exif) found.exif = after(segment, sizeof exif);
    if (marker == 0xe1 && begins(segment, xmp, sizeof xmp)) found.xmp = after(segment, sizeof xmp);
    at += 2 + length;
  }
  return found;
}

static struct metadata in_png(struct bytes file) {
  static const char exif[] = "Exif\0", xmp[] = "XML:com.adobe.xmp";
  struct metadata found = {{NULL, 0}, {NULL, 0}};
  size_t at = 8;
  while (file.size - at >= 12) {
    size_t length = big_endian(file.data + at, 4);
    if (length > file.size - at - 12) return found;
    struct bytes chunk = {file.data + at + 8, length};
    const uint8_t *kind = file.data + at + 4;
    if (!memcmp(kind, "eXIf", 4)) found.exif = begins(chunk, exif, sizeof exif) ? after(chunk, sizeof exif) : chunk;
    if (!memcmp(kind, "iTXt", 4) && begins(chunk, xmp, sizeof xmp)) found.xmp = after(chunk, sizeof xmp);
    at += 12 + length;
  }
  return found;
}

int orientation(const uint8_t *data, size_t size) {
  if (size < 12) return UPRIGHT;
  struct bytes file = {data, size};
  struct metadata found = data[0] == 0xff ? in_jpeg(file) : in_png(file);
  int value = found.exif.size ? from_tiff(found.exif) : 0;
  if (!value && found.xmp.size) value = from_xmp(found.xmp);
  return value >= UPRIGHT && value <= LAST ? value : UPRIGHT;
}

void turn(int orientation, const uint8_t *rgb, int32_t width, int32_t height, uint8_t *out) {
  int swapped = orientation >= 5;
  int from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  int from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  ptrdiff_t right = from_right ? -3 : 3, down = (ptrdiff_t)width * (from_below ? -3 : 3);
  const uint8_t *origin = rgb + (from_right ? ((ptrdiff_t)width - 1) * 3 : 0);
  if (from_below) origin += ((ptrdiff_t)height - 1) * width * 3;
  int32_t out_width = swapped ? height : width, out_height = swapped ? width : height;
  for (int32_t y = 0; y < out_height; y++) {
    const uint8_t *from = origin + y * (swapped ? right : down);
    for (int32_t x = 0; x < out_width; x++, from += swapped ? down : right, out += 3)
      out[0] = from[0], out[1] = from[1], out[2] = from[2];
  }
}
