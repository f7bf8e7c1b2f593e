/* Prints the boxes of compile/runner/inference/boxes.c: boxes_replay RULE.json NUMBERS.bin */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bundle/json.c"
#include "inference/boxes.c"

static char *content(const char *path, long *size) {
  FILE *file = fopen(path, "rb");
  fseek(file, 0, SEEK_END);
  *size = ftell(file);
  rewind(file);
  char *data = malloc((size_t)*size + 1);
  if (fread(data, 1, (size_t)*size, file) != (size_t)*size) exit(1);
  return data;
}

int main(int count, char **arguments) {
  long text_size, size;
  const char *error = NULL;
  char *text = content(arguments[1], &text_size);
  float *numbers = (float *)content(arguments[2], &size);
  struct box_rule rule;
  const char *problem = read_box_rule(json_parse(text, (size_t)text_size, &error), (int)(size / 4), &rule);
  if (count != 3 || problem) return fprintf(stderr, "%s\n", problem), 2;
  struct box *found = malloc((size_t)(rule.detections + rule.candidates) * sizeof *found);
  int boxes = find_boxes(&rule, numbers, found);
  for (int i = 0; i < boxes; i++) {
    const struct box *b = &found[i];
    printf("%d %u %a %a %a %a %a\n", b->label, b->anchor, b->score, b->edges[0], b->edges[1], b->edges[2], b->edges[3]);
  }
  return 0;
}
