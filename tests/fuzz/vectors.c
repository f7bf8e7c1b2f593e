/* The recorded pictures of a network of 3 x 2 pixels and 5 classes. */
#include "arena.h"
#include "bundle/bundle.c"
#include "bundle/json.c"
#include "bundle/sha256.c"
#include "bundle/vectors.c"

enum { PIXELS = 3 * 2, CLASSES = 5 };

void infer(const struct model *model, const uint8_t *rgb, float *logits) {
  unsigned sum = 0;
  for (int i = 0; i < PIXELS * 3; i++) sum += rgb[i];
  for (int c = 0; c < model->classes; c++) logits[c] = (float)sum * (float)c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct model model = {.height = 2, .width = 3, .channels = 3, .classes = CLASSES};
  write_input("vectors.bin", data, size);
  if (!setjmp(next_input)) {
    struct replay replay = replay_vectors(&model, path_of("vectors.bin"));
    REQUIRE(replay.count > 0 && replay.mismatches <= replay.count && isfinite(replay.tolerance));
    REQUIRE(first_picture(&model, path_of("vectors.bin")) != NULL);
  }
  arena_clear();
  return 0;
}
