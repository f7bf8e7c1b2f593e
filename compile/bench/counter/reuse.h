/* How much of what a program touches is not in a cache of each size: a least-recently-used stack of 64-byte lines.
 *
 * A fully associative LRU cache of n lines misses exactly where n or more other lines were touched since the last use
 * (Mattson et al., "Evaluation techniques for storage hierarchies", 1970), so that one stack answers for every size.
 * Real caches have sets and other orders; sizes are a model, misses of it are exact.
 */
#ifndef RG_REUSE_H
#define RG_REUSE_H

#include <stdint.h>

#define LINE_SHIFT 6
/* In lines: 16 KiB, 32 KiB, ... 16 MiB. */
#define CAPACITIES 11
#define FIRST_CAPACITY 256

/* Misses since the program began, by capacity. */
extern uint64_t reuse_misses[CAPACITIES];

void reuse_touch(uint64_t address);

#endif
