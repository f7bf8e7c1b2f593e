/* Classifies one picture from standard input, raw RGB: example WIDTH HEIGHT < picture.rgb */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "repghost.h"

static int number(const char *key) { /* of the JSON text that rg_info returns */
  const char *found = strstr(rg_info(), key);
  return found ? atoi(found + strlen(key)) : 0;
}

int main(int count, char **arguments) {
  if (count != 3 || rg_abi() != RG_ABI) return fprintf(stderr, "usage: example WIDTH HEIGHT < picture.rgb\n"), 2;
  struct rg_picture picture = {.width = atoi(arguments[1]), .height = atoi(arguments[2]), .order = RG_RGB};
  picture.stride = (ptrdiff_t)picture.width * 3;

  int classes = number("\"classes\":"), best = 0;
  int input_bytes = number("\"height\":") * number("\"width\":") * number("\"channels\":");
  size_t pixel_bytes = (size_t)picture.width * (size_t)picture.height * 3;
  uint8_t *pixels = malloc(pixel_bytes), *rgb = malloc((size_t)input_bytes);
  float *logits = malloc((size_t)classes * sizeof *logits);
  void *scratch = NULL, *workspace = NULL;
  if (!pixels || !rgb || !logits || fread(pixels, 1, pixel_bytes, stdin) != pixel_bytes) return 1;
  picture.pixels = pixels;
  if (posix_memalign(&scratch, RG_WORKSPACE_ALIGNMENT, rg_prepare_bytes(&picture)) ||
      posix_memalign(&workspace, RG_WORKSPACE_ALIGNMENT, rg_workspace_bytes() + 1))
    return 1;

  int status = rg_prepare(&picture, rgb, scratch);
  if (!status) status = rg_infer(rgb, logits, workspace);
  if (status) return fprintf(stderr, "status %d, see rg_status in repghost.h\n", status), 1;
  for (int i = 1; i < classes; i++) best = logits[i] > logits[best] ? i : best;
  printf("class %d, score %.9g, on %s\n", best, (double)logits[best], rg_variant());
  return 0;
}
