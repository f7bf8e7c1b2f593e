#include "classes.h"

#include <stddef.h>

#ifndef FAMILY_ROWS
#define FAMILY_ROWS "classes_arm64.h"
#endif

/* One row: an instruction whose bits under `mask` equal `value` is of `class`; the first row that fits counts. */
struct row {
  uint32_t mask, value;
  enum instruction_class class;
};

static const struct row rows[] = {
#include FAMILY_ROWS
};

enum instruction_class classify(uint32_t word) {
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    if ((word & rows[i].mask) == rows[i].value) return rows[i].class;
  }
  return CLASS_OTHER;
}
