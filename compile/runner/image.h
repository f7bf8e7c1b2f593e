/* Pictures that are already cropped to the size of the network. */
#ifndef RG_IMAGE_H
#define RG_IMAGE_H

#include <stdint.h>

/* Reads a picture of exactly width x height, either a binary PPM (P6, 8 bits a channel) or raw bytes, red first.
 * Ends the program when the file is neither. */
uint8_t *read_picture(const char *path, int width, int height);

#endif
