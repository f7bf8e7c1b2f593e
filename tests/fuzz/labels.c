/* What --classify prints: the input is the scores of four classes and labels.txt. Whatever they are, it is JSON. */
#include "arena.h"
#include "bundle/bundle.c"
#include "bundle/json.c"
#include "bundle/sha256.c"
#include "bundle/text.c"
#include "commands/classify.c"

enum { CLASSES = 4 };

static float scores[CLASSES];

double milliseconds(void) { return 0; }

const char *load_picture(const struct model *model, const char *path, int32_t most_pixels, uint8_t *rgb) {
  memset(rgb, path[0] + most_pixels, picture_bytes(model));
  return NULL;
}

void infer(const struct model *model, const uint8_t *rgb, float *logits) {
  memcpy(logits, scores, sizeof scores);
  REQUIRE(rgb && model->classes == CLASSES);
}

static const char *variant(void) { return "plain"; }

/* Python's reader takes half of a surrogate pair and a zero; ours, which only reads manifests, does not. */
static void check_line(char *line, size_t size) {
  const char *error = NULL;
  REQUIRE(size > 0 && line[size - 1] == '\n');
  for (char *half; (half = strstr(line, "\\udc"));) half[2] = '0';
  for (char *zero; (zero = strstr(line, "\\u0000"));) zero[5] = '1';
  REQUIRE(json_member(json_parse(line, size, &error), "top"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < sizeof scores) return 0;
  struct model model = {.height = 1, .width = 1, .channels = 3, .classes = CLASSES, .variant = variant};
  FILE *terminal = stdout;
  char *line = NULL;
  size_t length = 0;
  memcpy(scores, data, sizeof scores);
  write_input("labels.txt", data + sizeof scores, size - sizeof scores);
  stdout = open_memstream(&line, &length);
  struct classifier classifier = new_classifier(&model, "classify", folder, CLASSES + 1, 1);
  const char *problem = classify(&classifier, "a picture");
  fclose(stdout);
  stdout = terminal;
  REQUIRE(!problem);
  check_line(line, length);
#undef free
  free(line);
  arena_clear();
  return 0;
}
