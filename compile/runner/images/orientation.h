/* How a picture has to be turned to stand upright. */
#ifndef RG_ORIENTATION_H
#define RG_ORIENTATION_H

#include <stddef.h>
#include <stdint.h>

/* Returns the EXIF orientation, 1 to 8, of a JPEG or PNG file; 1, upright, when it says none. */
int orientation(const uint8_t *data, size_t size);

/* Writes the picture `pixels`, uint8 [height][width][bands], turned by `orientation` to `out`, which is as large;
 * orientations from 5 on swap width and height. */
void turn(int orientation, const uint8_t *pixels, int32_t width, int32_t height, int32_t bands, uint8_t *out);

#endif
