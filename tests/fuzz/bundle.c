/* The check of a bundle, with the input as its manifest: no name leads out of the folder (see arena_open). */
#include "arena.h"
#include "bundle/bundle.c"
#include "bundle/json.c"
#include "bundle/sha256.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  write_input("manifest.json", data, size);
  if (access(path_of("model.so"), F_OK)) write_input("model.so", (const uint8_t *)"a library", 9);
  if (!setjmp(next_input)) REQUIRE(check_bundle(folder) == 1); /* model.so is all that can be listed */
  arena_clear();
  return 0;
}
