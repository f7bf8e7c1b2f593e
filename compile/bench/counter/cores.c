#include "cores.h"

static double largest(const double *values, size_t count) {
  double found = 0;
  for (size_t i = 0; i < count; i++) found = values[i] > found ? values[i] : found;
  return found;
}

#define LARGEST(...) largest((const double[]){__VA_ARGS__}, sizeof(double[]){__VA_ARGS__} / sizeof(double))

static int is_vector_access(enum instruction_class class) {
  return class == CLASS_VECTOR_LOAD || class == CLASS_VECTOR_STORE;
}

/* Vector work apart from loads and stores. */
static double vector_work(const uint32_t *by_class) {
  double sum = 0;
  for (int class = CLASS_DOT; class <= CLASS_SCALABLE; class++) sum += by_class[class];
  return sum;
}

struct price price_block(const uint32_t *words, size_t count) {
  struct price price = {{0}, {0}};
  uint32_t *n = price.instructions;
  double vector_accesses = 0;
  for (size_t i = 0; i < count; i++) {
    enum instruction_class class = classify(words[i]);
    n[class]++;
    if (is_vector_access(class)) vector_accesses += registers_moved(words[i]);
  }
  double all = (double)count, vector = vector_work(n), scalar_accesses = n[CLASS_LOAD] + n[CLASS_STORE];
  double accesses = vector_accesses + scalar_accesses, branches = n[CLASS_BRANCH], multiplies = n[CLASS_MULTIPLY];
  double products = multiplies + n[CLASS_DOT] + n[CLASS_MATRIX];
  price.cycles[CORE_A76] = LARGEST(all / 4, vector / 2, accesses / 2, multiplies, branches);
  price.cycles[CORE_A72] = LARGEST(all / 3, vector / 2, accesses, 2 * products, branches);
  price.cycles[CORE_A55] = LARGEST(all / 2, vector + 2 * vector_accesses + scalar_accesses + 0.5 * n[CLASS_INTEGER]);
  return price;
}
