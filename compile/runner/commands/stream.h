/* Inference on the pictures of standard input, which leave nothing on the device. */
#ifndef RG_STREAM_H
#define RG_STREAM_H

#include "inference/model.h"

/* For each picture of standard input, bytes of the network's input one after the other, prints a JSON object: the time
 * of its inference, and its scores to the bit, eight hexadecimal digits for each float32. The first picture is inferred
 * `warmup` times before. The last object counts them, with the clock and the temperature before and after. Ends the
 * program when the input ends within a picture. */
void stream(const struct model *model, int warmup);

#endif
