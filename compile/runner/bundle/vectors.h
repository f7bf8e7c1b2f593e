/* Recorded inputs and the outputs the numpy reference expects for them. The file, all numbers little-endian:
 *
 *   offset  0  8 bytes  "RGVEC\0\0\1"
 *           8  uint32   count: how many pictures
 *          12  uint32   height
 *          16  uint32   width
 *          20  uint32   classes
 *          24  float32  tolerance: the largest allowed difference of a logit; 0 means equal to the bit
 *          28  uint32   channels of a pixel; 0 means 3
 *          32  uint8    [count][height][width][channels], the pictures; of three channels red is the first
 *              zero bytes up to a multiple of 4
 *              float32  [count][classes], the logits
 */
#ifndef RG_VECTORS_H
#define RG_VECTORS_H

#include <stdint.h>

#include "inference/model.h"

struct replay {
  uint32_t count;       /* pictures */
  uint32_t mismatches;  /* pictures whose logits differ by more than the tolerance */
  double largest;       /* difference of any logit */
  float tolerance;
};

/* Runs every picture of the file at `path` and compares the logits; ends the program when the file does not fit. */
struct replay replay_vectors(const struct model *model, const char *path);

/* Returns the first picture of the file, for measuring. */
const uint8_t *first_picture(const struct model *model, const char *path);

#endif
