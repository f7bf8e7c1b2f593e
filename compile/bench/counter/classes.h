/* What kind of work an instruction is, from its word alone. */
#ifndef RG_CLASSES_H
#define RG_CLASSES_H

#include <stdint.h>

/* X(constant, name in the output) */
#define RG_CLASSES(X)                                                                             \
  X(DOT, "dot")                         /* sdot, udot, usdot, bfdot */                            \
  X(MATRIX, "matrix")                   /* smmla, ummla, usmmla, bfmmla */                        \
  X(FLOAT_MULTIPLY_ADD, "float_fma")    /* vector fmla, fmls, fmlal, vmla.f32 */                  \
  X(FLOAT, "float")                     /* other vector arithmetic in floating point */           \
  X(MULTIPLY, "multiply")               /* vector integer multiplies, with or without a sum */    \
  X(VECTOR, "vector")                   /* every other vector instruction */                      \
  X(SCALAR_FLOAT, "scalar_float")       /* one number in a vector register, moves to and from it */ \
  X(SCALABLE, "scalable")               /* SVE */                                                 \
  X(VECTOR_LOAD, "vector_load")                                                                   \
  X(VECTOR_STORE, "vector_store")                                                                 \
  X(LOAD, "load")                                                                                 \
  X(STORE, "store")                                                                               \
  X(INTEGER, "integer")                 /* address arithmetic, counters */                        \
  X(BRANCH, "branch")                   /* and system instructions */                             \
  X(OTHER, "other")

enum instruction_class {
#define CONSTANT(constant, name) CLASS_##constant,
  RG_CLASSES(CONSTANT)
#undef CONSTANT
      CLASSES
};

/* The class of one instruction. */
enum instruction_class classify(uint32_t word);

#endif
