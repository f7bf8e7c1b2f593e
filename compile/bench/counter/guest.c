/* The arm64 program that is counted: it loads a model.so that was checked before and marks what belongs together.
 *
 *   guest MODEL.so VECTORS.bin VARIANT     VARIANT "" means the best one of the emulated core
 *
 * One inference comes first and is not counted. Then one is counted as a whole and, in a profiling build, step by step.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "bundle/bundle.h"
#include "marks.h"
#include "inference/model.h"
#include "bundle/vectors.h"

static void mark(int number) { prctl(MARK_OPTION, (unsigned long)number, 0, 0, 0); }

/* The library is loaded already; opening it again finds the same one. */
static size_t workspace_bytes(const char *path) {
  void *library = dlopen(path, RTLD_NOW);
  size_t (*bytes)(void) = library ? (size_t(*)(void))dlsym(library, "rg_workspace_bytes") : NULL;
  if (!bytes) stop(EXIT_INTEGRITY, "model.so has no function rg_workspace_bytes");
  return bytes();
}

int main(int count, char **arguments) {
  if (count != 4) stop(EXIT_USAGE, "usage: guest MODEL.so VECTORS.bin VARIANT");
  struct model model = load_model(arguments[1], arguments[3][0] ? arguments[3] : NULL, 1);
  const uint8_t *picture = first_picture(&model, arguments[2]);
  float *logits = allocate((size_t)model.classes * sizeof *logits);
  infer(&model, picture, logits);
  mark(MARK_START);
  infer(&model, picture, logits);
  mark(MARK_WHOLE);
  for (int step = 0; step < model.steps; step++) {
    int status = model.run_step(step, picture, logits, model.workspace);
    if (status) stop(EXIT_OTHER, "step %d failed with status %d (see rg_status in repghost.h)", step, status);
    mark(MARK_FIRST_STEP + step);
  }
  printf("{\"command\":\"count\",\"variant\":\"%s\",\"steps\":%d,\"workspace_bytes\":%zu}\n", model.variant(),
         model.steps, workspace_bytes(arguments[1]));
  return EXIT_DONE;
}
