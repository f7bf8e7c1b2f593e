/* How many cycles a run of instructions takes at least on three kinds of core: a model, not a measurement.
 *
 * For each block of straight code the tightest of a few bounds counts: how many instructions a core can issue, how many
 * of them its vector units take, its load and store units, its multiplier. Caches, dependencies and branch mispredictions
 * are left out, so the figures are for comparing builds with each other, not for predicting milliseconds.
 *
 *   A76: 4 instructions a cycle; 2 vector units, of which one multiplies integers (sdot runs on both); 2 loads or stores
 *        of 16 bytes; 1 branch.
 *   A72: 3 instructions a cycle; 2 vector units, a vector multiply of integers takes one of them for 2 cycles; 1 load or
 *        store of 16 bytes; 1 branch.
 *   A55: in order, 2 instructions a cycle; 1 vector instruction of 16 bytes; a load or store of 16 bytes takes 2 cycles of
 *        the path that scalar instructions share, which does not overlap with vector work here. It stands for the A53 too.
 */
#ifndef RG_CORES_H
#define RG_CORES_H

#include <stddef.h>
#include <stdint.h>

#include "classes.h"

#define RG_CORES(X) X(A76, "a76") X(A72, "a72") X(A55, "a55")

enum core {
#define CONSTANT(constant, name) CORE_##constant,
  RG_CORES(CONSTANT)
#undef CONSTANT
      CORES
};

/* What one execution of a block is: instructions by class, and modelled cycles by core. */
struct price {
  uint32_t instructions[CLASSES];
  double cycles[CORES];
};

struct price price_block(const uint32_t *words, size_t count);

#endif
