/* From a picture file to the bytes the network takes. */
#ifndef RG_IMAGE_H
#define RG_IMAGE_H

#include <stdint.h>

#include "images/decode.h"
#include "inference/model.h"

/* Resizes and crops a picture in memory. Returns null, or what is wrong with it. */
const char *prepare_picture(const struct model *model, const struct rg_picture *picture, uint8_t *rgb);

/* Reads a JPEG, PNG or binary PPM or PGM file (P6, P5, 8 bits a channel) of at most `most_pixels` and prepares it as in
 * training, or takes the raw bytes of a picture that is prepared already. `rgb` is uint8 [height][width][channels] of the network.
 * Returns null, or a sentence that names the file and what is wrong with it; it lasts until the next call. */
const char *load_picture(const struct model *model, const char *path, int32_t most_pixels, uint8_t *rgb);

/* The same, and the picture itself as it was before, whose pixels are given back with free; a picture that is prepared
 * already is its own. */
const char *load_pixels(const struct model *model, const char *path, int32_t most_pixels, uint8_t *rgb,
                        struct pixels *pixels);

#endif
