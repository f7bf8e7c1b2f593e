#include "bundle/text.h"

#include <math.h>
#include <stdio.h>

static const unsigned least_of_length[] = {0, 0, 0x80, 0x800, 0x10000}; /* of the code points with so many bytes */

/* Returns how many bytes the UTF-8 character at `text` has, or 0 when it is none. */
static size_t character(const unsigned char *text, size_t size) {
  unsigned char first = text[0];
  size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length <= 1 || length > size) return length <= 1 ? length : 0;
  unsigned code = text[0] & (0x7fu >> length);
  for (size_t i = 1; i < length; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
    code = code << 6 | (text[i] & 0x3fu);
  }
  return code < least_of_length[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? 0 : length;
}

void print_string(const char *text, size_t size) {
  const unsigned char *at = (const unsigned char *)text, *end = at + size;
  putchar('"');
  while (at < end) {
    size_t length = character(at, (size_t)(end - at));
    if (length == 0) {
      printf("\\udc%02x", *at++);
    } else if (*at == '"' || *at == '\\') {
      printf("\\%c", *at++);
    } else if (*at < 0x20 || *at == 0x7f) {
      printf("\\u%04x", *at++);
    } else {
      fwrite(at, 1, length, stdout);
      at += length;
    }
  }
  putchar('"');
}

void print_number(double number, int digits) {
  if (isfinite(number)) printf("%.*g", digits, number);
  else fputs("null", stdout);
}
