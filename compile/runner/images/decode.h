/* From the bytes of a JPEG or PNG file to pixels, upright, as repghost/data/images/decode.py gives them. */
#ifndef RG_DECODE_H
#define RG_DECODE_H

#include <stddef.h>
#include <stdint.h>

struct pixels {
  int32_t width, height;
  uint8_t *rgb; /* [height][width][3], or as many bands as were asked for, from malloc */
};

/* Pixels of one picture: what a caller can allow, as in repghost/data/images/decode.py, and what is allowed without a word.
 * A pixel takes at most 15 bytes while it is decoded (progressive CMYK), so that these are 240 MiB. */
enum { MOST_PIXELS = 89478485, USUAL_PIXELS = 1 << 24 };

/* Returns null, or a sentence when a picture has more than `most` pixels; it lasts until the next call. */
const char *too_large(uint64_t width, uint64_t height, int32_t most);

/* Whether the first bytes are those of a JPEG or PNG file. */
int is_encoded(const uint8_t *data, size_t size);

/* Decodes a file that `is_encoded`, of at most `most` pixels. Returns null, or why not; nothing is allocated then.
 * A transparent picture is laid over white, and what the EXIF tag of orientation says is done. */
const char *decode(const uint8_t *data, size_t size, int32_t most, struct pixels *pixels);

/* Decodes the bands of a PNG file as it stores them, into [height][width][bands]: 2, grey and alpha, or 4, RGB and alpha.
 * A file with other bands is refused. */
const char *decode_bands(const uint8_t *data, size_t size, int32_t most, int32_t bands, struct pixels *pixels);

#endif
