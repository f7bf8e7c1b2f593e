/* Boxes on a picture, and a picture as a file. */
#ifndef RG_DRAW_H
#define RG_DRAW_H

#include "images/decode.h"

#define DRAWN_SCORE 0.3 /* less likely boxes are listed and not drawn: they would hide what was found */

/* Draws the outline of left, top, right and bottom in pixels, in the colour of a number; what lies outside is left out. */
void draw_box(struct pixels *pixels, const double edges[4], int number);

/* Writes a binary PPM file, whole or not at all. Returns null, or a sentence that lasts until the next call. */
const char *write_ppm(const char *path, const struct pixels *pixels);

#endif
