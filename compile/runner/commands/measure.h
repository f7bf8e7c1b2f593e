/* Latency of a network and of its steps. */
#ifndef RG_MEASURE_H
#define RG_MEASURE_H

#include "inference/model.h"

/* Milliseconds of a clock that only goes forward. */
double milliseconds(void);

/* Prints the latency over `runs` inferences after `warmup` others, as one JSON object: percentiles, and the clock and
 * the temperature before and after. With `seconds` above 0 it goes on that long instead, whatever `runs` is, and the
 * object has a curve besides: the median of each of at most 60 equal parts of the time. */
void print_latency(const struct model *model, const uint8_t *picture, int warmup, int runs, int seconds);

/* For measurements in turns with other programs: prints a JSON object, and from then on for each line of standard input,
 * the number of inferences of a turn, one JSON array of their milliseconds. Each turn begins with `warmup` inferences
 * that are not timed. */
void print_turns(const struct model *model, const uint8_t *picture, int warmup);

/* Prints the time of each step over `runs` inferences on one thread, as one JSON object; ends the program when model.so
 * is no profiling build. */
void print_profile(const struct model *model, const uint8_t *picture, int warmup, int runs);

#endif
