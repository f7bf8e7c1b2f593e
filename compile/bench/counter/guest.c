/* The program that is counted: it loads a model.so that was checked before and marks what belongs together.
 *
 *   guest MODEL.so VECTORS.bin VARIANT [THREADS]     VARIANT "" means the best one of the emulated core
 *
 * One inference comes first and is not counted. Then one is counted as a whole and, in a profiling build, step by step.
 * With THREADS one is counted whose steps are cut for so many threads. The pieces run one after the other, so that no
 * thread waits and the counts are exact: a mark stands before the first piece of a step and after each one.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
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

enum { MOST_STEPS = 4096 };
static int pieces[MOST_STEPS], shared_steps, marks;

static int run_pieces(void *context, void (*task)(void *data, int index), void *data, int count) {
  (void)context;
  if (shared_steps == MOST_STEPS) return 1;
  pieces[shared_steps++] = count;
  mark(MARK_FIRST_STEP + marks++);
  for (int i = 0; i < count; i++) {
    task(data, i);
    mark(MARK_FIRST_STEP + marks++);
  }
  return 0;
}

static void count_pieces(const struct model *model, int threads, const uint8_t *picture, float *logits) {
  mark(MARK_START);
  int status = model->infer_parallel(picture, logits, model->workspace, run_pieces, NULL, threads);
  mark(MARK_WHOLE);
  if (status) stop(EXIT_OTHER, "the inference failed with status %d (see rg_status in repghost.h)", status);
  printf("{\"command\":\"count\",\"variant\":\"%s\",\"pieces\":[", model->variant());
  for (int i = 0; i < shared_steps; i++) printf("%s%d", i ? "," : "", pieces[i]);
  puts("]}");
}

int main(int count, char **arguments) {
  if (count != 4 && count != 5) stop(EXIT_USAGE, "usage: guest MODEL.so VECTORS.bin VARIANT [THREADS]");
  struct model model = load_model(arguments[1], arguments[3][0] ? arguments[3] : NULL, 1);
  const uint8_t *picture = first_picture(&model, arguments[2]);
  float *logits = allocate((size_t)model.classes * sizeof *logits);
  infer(&model, picture, logits);
  if (count == 5) {
    count_pieces(&model, atoi(arguments[4]), picture, logits);
    return EXIT_DONE;
  }
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
