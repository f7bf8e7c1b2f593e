/* Which way a picture has to be turned, and turning one. */
#include <stdlib.h>

#include "images/orientation.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t picture[3 * 5 * 3], turned[sizeof picture];
  unsigned before = 0, after = 0;
  int way = orientation(data, size);
  if (way < UPRIGHT || way > LAST) abort();
  for (size_t i = 0; i < sizeof picture; i++) before += picture[i] = size ? data[i % size] : 0;
  memset(turned, 0, sizeof turned);
  turn(way, picture, 3, 5, 3, turned);
  for (size_t i = 0; i < sizeof turned; i++) after += turned[i];
  if (before != after) abort();
  return 0;
}
