#include "bundle/json.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_LIMIT = 32 };

struct reader {
  const char *at, *end;
  const char *error;
};

static struct json *fail(struct reader *r, const char *error) {
  if (!r->error) r->error = error;
  return NULL;
}

static void skip_space(struct reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

static int take(struct reader *r, char c) {
  if (r->at >= r->end || *r->at != c) return 0;
  r->at++;
  return 1;
}

static int take_word(struct reader *r, const char *word) {
  size_t size = strlen(word);
  if ((size_t)(r->end - r->at) < size || memcmp(r->at, word, size)) return 0;
  r->at += size;
  return 1;
}

/* Returns the 16 bits of a \u escape, or -1. */
static int32_t hex4(struct reader *r) {
  int32_t value = 0;
  if (r->end - r->at < 4) return -1;
  for (int i = 0; i < 4; i++) {
    char c = *r->at++;
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

static char *put_utf8(char *out, int32_t code) {
  if (code < 0x80) *out++ = (char)code;
  else if (code < 0x800) *out++ = (char)(0xc0 | code >> 6), *out++ = (char)(0x80 | (code & 63));
  else if (code < 0x10000)
    *out++ = (char)(0xe0 | code >> 12), *out++ = (char)(0x80 | (code >> 6 & 63)), *out++ = (char)(0x80 | (code & 63));
  else
    *out++ = (char)(0xf0 | code >> 18), *out++ = (char)(0x80 | (code >> 12 & 63)),
    *out++ = (char)(0x80 | (code >> 6 & 63)), *out++ = (char)(0x80 | (code & 63));
  return out;
}

static int32_t escaped_code(struct reader *r) {
  int32_t code = hex4(r);
  if (code < 0xd800 || code > 0xdfff) return code > 0 ? code : -1;
  if (code > 0xdbff || !take(r, '\\') || !take(r, 'u')) return -1;
  int32_t low = hex4(r);
  return low < 0xdc00 || low > 0xdfff ? -1 : 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

/* Returns how many bytes stand before the closing quote, or before the end where there is none. */
static size_t quoted_bytes(const struct reader *r) {
  const char *at = r->at;
  while (at < r->end && *at != '"') at += *at == '\\' && r->end - at > 1 ? 2 : 1;
  return (size_t)(at - r->at);
}

static char *parse_string(struct reader *r) {
  static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
  if (!take(r, '"')) return fail(r, "a string is missing"), NULL;
  char *text = malloc(quoted_bytes(r) + 1), *out = text; /* an escape is never shorter than what it stands for */
  if (!text) return fail(r, "out of memory"), NULL;
  while (r->at < r->end && *r->at != '"') {
    unsigned char c = (unsigned char)*r->at++;
    if (c < 0x20) return fail(r, "a control character in a string"), NULL;
    if (c != '\\') {
      *out++ = (char)c;
      continue;
    }
    if (take(r, 'u')) {
      int32_t code = escaped_code(r);
      if (code < 0) return fail(r, "a wrong \\u escape"), NULL;
      out = put_utf8(out, code);
      continue;
    }
    const char *found = r->at < r->end && *r->at ? strchr(escapes, *r->at) : NULL;
    if (!found) return fail(r, "a wrong escape in a string"), NULL;
    *out++ = meanings[found - escapes];
    r->at++;
  }
  if (!take(r, '"')) return fail(r, "a string does not end"), NULL;
  *out = 0;
  return text;
}

static int digits(struct reader *r) {
  const char *first = r->at;
  while (r->at < r->end && *r->at >= '0' && *r->at <= '9') r->at++;
  return r->at > first;
}

static int parse_number(struct reader *r, double *number) {
  const char *first = r->at;
  char copy[64];
  take(r, '-');
  if (!take(r, '0') && !digits(r)) return 0;
  if (take(r, '.') && !digits(r)) return 0;
  if (take(r, 'e') || take(r, 'E')) {
    if (!take(r, '+')) take(r, '-');
    if (!digits(r)) return 0;
  }
  size_t size = (size_t)(r->at - first);
  if (size >= sizeof copy) return 0;
  memcpy(copy, first, size);
  copy[size] = 0;
  *number = strtod(copy, NULL);
  return isfinite(*number);
}

static int by_key(const void *left, const void *right) {
  return strcmp((*(const struct json *const *)left)->key, (*(const struct json *const *)right)->key);
}

/* Sorts the keys: quick for any keys, while a hash table is slow for those that were made against it. */
static void refuse_double_keys(struct reader *r, const struct json *object, size_t count) {
  const struct json **members = malloc((count + 1) * sizeof *members);
  if (!members) {
    fail(r, "out of memory");
    return;
  }
  size_t found = 0;
  for (const struct json *member = object->child; member; member = member->next) members[found++] = member;
  qsort(members, found, sizeof *members, by_key);
  for (size_t i = 1; i < found; i++) {
    if (!by_key(&members[i - 1], &members[i])) fail(r, "a key stands twice in one object");
  }
  free(members);
}

static struct json *parse_value(struct reader *r, int depth);

/* Reads what stands between the brackets of an array or object, the opening one already taken. */
static int parse_members(struct reader *r, struct json *parent, char close, int depth) {
  struct json **last = &parent->child;
  size_t count = 0;
  skip_space(r);
  if (take(r, close)) return 1;
  do {
    char *key = NULL;
    skip_space(r);
    if (close == '}') {
      if (!(key = parse_string(r))) return 0;
      skip_space(r);
      if (!take(r, ':')) return fail(r, "a colon is missing"), 0;
    }
    struct json *value = parse_value(r, depth + 1);
    if (!value) return 0;
    value->key = key;
    *last = value;
    last = &value->next;
    count++;
    skip_space(r);
  } while (take(r, ','));
  if (!take(r, close)) return fail(r, "a bracket is not closed"), 0;
  if (close == '}') refuse_double_keys(r, parent, count);
  return !r->error;
}

static struct json *parse_value(struct reader *r, int depth) {
  if (depth > DEPTH_LIMIT) return fail(r, "values are nested too deeply");
  struct json *value = calloc(1, sizeof *value);
  if (!value) return fail(r, "out of memory");
  skip_space(r);
  if (r->at >= r->end) return fail(r, "a value is missing");
  if (take(r, '{')) {
    value->kind = JSON_OBJECT;
    return parse_members(r, value, '}', depth) ? value : NULL;
  }
  if (take(r, '[')) {
    value->kind = JSON_ARRAY;
    return parse_members(r, value, ']', depth) ? value : NULL;
  }
  if (*r->at == '"') {
    value->kind = JSON_STRING;
    return (value->string = parse_string(r)) ? value : NULL;
  }
  if (take_word(r, "null")) return value;
  if (take_word(r, "true") || take_word(r, "false")) {
    value->kind = r->at[-2] == 'u' ? JSON_TRUE : JSON_FALSE;
    return value;
  }
  value->kind = JSON_NUMBER;
  return parse_number(r, &value->number) ? value : fail(r, "a wrong number or word");
}

struct json *json_parse(const char *text, size_t size, const char **error) {
  struct reader r = {text, text + size, NULL};
  struct json *value = parse_value(&r, 0);
  skip_space(&r);
  if (value && r.at != r.end) value = fail(&r, "something follows the value");
  *error = r.error;
  return value;
}

struct json *json_member(const struct json *object, const char *key) {
  if (!object || object->kind != JSON_OBJECT) return NULL;
  for (struct json *member = object->child; member; member = member->next) {
    if (member->key && !strcmp(member->key, key)) return member;
  }
  return NULL;
}
