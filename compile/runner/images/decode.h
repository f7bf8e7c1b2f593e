/* From the bytes of a JPEG or PNG file to pixels, upright, as repghost/data/decode.py gives them. */
#ifndef RG_DECODE_H
#define RG_DECODE_H

#include <stddef.h>
#include <stdint.h>

struct pixels {
  int32_t width, height;
  uint8_t *rgb; /* [height][width][3], from malloc */
};

enum { MOST_PIXELS = 89478485 }; /* of one picture, as in repghost/data/decode.py */

/* Whether the first bytes are those of a JPEG or PNG file. */
int is_encoded(const uint8_t *data, size_t size);

/* Decodes a file that `is_encoded`. Returns null, or why it cannot be decoded; nothing is allocated then.
 * A transparent picture is laid over white, and what the EXIF tag of orientation says is done. */
const char *decode(const uint8_t *data, size_t size, struct pixels *pixels);

#endif
