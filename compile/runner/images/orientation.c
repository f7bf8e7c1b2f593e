#include "images/orientation.h"

#include <string.h>

/* repghost/data/images/metadata.py reads the same; a test compares the two over odd pictures. */
enum { ABSENT = -1, UPRIGHT = 1, LAST = 8, TAG = 0x0112, ENTRY_BYTES = 12, TYPE_SHORT = 3, TYPE_LONG = 4 };

/* In front of the TIFF structure in JPEG files, and of some in PNG files. */
static const char exif_mark[6] = {'E', 'x', 'i', 'f', 0, 0};

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

/* Returns the first value of a directory entry, or ABSENT when it is of another type or not there. */
static int64_t first_value(struct bytes tiff, const uint8_t *entry, int little) {
  uint32_t type = number(entry + 2, 2, little), count = number(entry + 4, 4, little), at = number(entry + 8, 4, little);
  int width = type == TYPE_SHORT ? 2 : 4;
  uint64_t bytes = (uint64_t)count * (uint64_t)width;
  if ((type != TYPE_SHORT && type != TYPE_LONG) || count == 0) return ABSENT;
  if (bytes <= 4) return number(entry + 8, width, little);
  if (at > tiff.size || tiff.size - at < bytes) return ABSENT;
  return number(tiff.data + at, width, little);
}

static int begins(struct bytes text, const char *prefix, size_t length) {
  return text.size >= length && !memcmp(text.data, prefix, length);
}

static struct bytes after(struct bytes text, size_t length) {
  return (struct bytes){text.data + length, text.size - length};
}

/* Reads the tag from the first directory of a TIFF structure; the first one that has a value counts. */
static int64_t from_tiff(struct bytes tiff) {
  if (begins(tiff, exif_mark, sizeof exif_mark)) tiff = after(tiff, sizeof exif_mark);
  if (tiff.size < 8) return ABSENT;
  int little = !memcmp(tiff.data, "II*\0", 4);
  if (!little && memcmp(tiff.data, "MM\0*", 4)) return ABSENT;
  size_t at = number(tiff.data + 4, 4, little);
  if (at > tiff.size || tiff.size - at < 2) return ABSENT;
  uint32_t entries = number(tiff.data + at, 2, little);
  at += 2;
  for (uint32_t i = 0; i < entries && tiff.size - at >= ENTRY_BYTES; i++, at += ENTRY_BYTES) {
    int64_t found = number(tiff.data + at, 2, little) == TAG ? first_value(tiff, tiff.data + at, little) : ABSENT;
    if (found != ABSENT) return found;
  }
  return ABSENT;
}

/* Reads tiff:Orientation="6" or <tiff:Orientation>6 from an XMP packet. */
static int64_t from_xmp(struct bytes xmp) {
  static const char name[] = "tiff:Orientation";
  const size_t length = sizeof name - 1;
  for (size_t at = 0; at + length < xmp.size; at++) {
    struct bytes value = {xmp.data + at + length, xmp.size - at - length};
    if (memcmp(xmp.data + at, name, length)) continue;
    size_t sign = begins(value, ">", 1) ? 1 : begins(value, "=\"", 2) ? 2 : value.size;
    if (sign < value.size && value.data[sign] >= '0' && value.data[sign] <= '9') return value.data[sign] - '0';
  }
  return ABSENT;
}

/* Where a file keeps its metadata; a size of 0 where it has none. */
struct metadata {
  struct bytes exif, xmp;
};

static struct metadata in_jpeg(struct bytes file) {
  static const char xmp[] = "http://ns.adobe.com/xap/1.0/";
  struct metadata found = {{NULL, 0}, {NULL, 0}};
  size_t at = 2;
  while (file.size - at >= 4) {
    uint8_t marker = file.data[at + 1];
    /* Passed over are bytes between segments, fill bytes, escaped 0xff, and markers without a length. */
    int bare = marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd7);
    if (file.data[at] != 0xff || marker == 0xff || bare) {
      at += file.data[at] == 0xff && bare ? 2 : 1;
      continue;
    }
    size_t length = big_endian(file.data + at + 2, 2);
    if (marker == 0xda || marker == 0xd9 || length < 2 || length > file.size - at - 2) return found;
    struct bytes segment = {file.data + at + 4, length - 2};
    int first_exif = !found.exif.size && begins(segment, exif_mark, sizeof exif_mark);
    if (marker == 0xe1 && first_exif) found.exif = after(segment, sizeof exif_mark);
    if (marker == 0xe1 && begins(segment, xmp, sizeof xmp)) found.xmp = after(segment, sizeof xmp);
    at += 2 + length;
  }
  return found;
}

static struct metadata in_png(struct bytes file) {
  static const char xmp[] = "XML:com.adobe.xmp";
  struct metadata found = {{NULL, 0}, {NULL, 0}};
  size_t at = 8;
  while (file.size - at >= 12) {
    size_t length = big_endian(file.data + at, 4);
    if (length > file.size - at - 12) return found;
    struct bytes chunk = {file.data + at + 8, length};
    const uint8_t *kind = file.data + at + 4;
    if (!memcmp(kind, "IEND", 4)) return found;
    if (!memcmp(kind, "eXIf", 4)) found.exif = chunk;
    if (!memcmp(kind, "iTXt", 4) && begins(chunk, xmp, sizeof xmp)) found.xmp = after(chunk, sizeof xmp);
    at += 12 + length;
  }
  return found;
}

int orientation(const uint8_t *data, size_t size) {
  if (size < 12) return UPRIGHT;
  struct bytes file = {data, size};
  struct metadata found = data[0] == 0xff ? in_jpeg(file) : in_png(file);
  int64_t value = from_tiff(found.exif);
  if (value == ABSENT) value = from_xmp(found.xmp);
  return value >= UPRIGHT && value <= LAST ? (int)value : UPRIGHT;
}

void turn(int orientation, const uint8_t *pixels, int32_t width, int32_t height, int32_t bands, uint8_t *out) {
  int swapped = orientation >= 5;
  int from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  int from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  ptrdiff_t right = from_right ? -bands : bands, down = (ptrdiff_t)width * (from_below ? -bands : bands);
  const uint8_t *origin = pixels + (from_right ? ((ptrdiff_t)width - 1) * bands : 0);
  if (from_below) origin += ((ptrdiff_t)height - 1) * width * bands;
  int32_t out_width = swapped ? height : width, out_height = swapped ? width : height;
  for (int32_t y = 0; y < out_height; y++) {
    const uint8_t *from = origin + y * (swapped ? right : down);
    for (int32_t x = 0; x < out_width; x++, from += swapped ? down : right, out += bands)
      for (int32_t band = 0; band < bands; band++) out[band] = from[band];
  }
}
