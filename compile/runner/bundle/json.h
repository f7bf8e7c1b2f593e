/* A strict JSON reader (RFC 8259) for manifests: no duplicate keys, no comments, bounded depth, nothing after the value. */
#ifndef RG_JSON_H
#define RG_JSON_H

#include <stddef.h>

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
  enum json_kind kind;
  char *key;          /* of a member of an object, UTF-8 */
  char *string;       /* of a string, UTF-8 without zero bytes */
  double number;      /* of a number */
  struct json *child; /* the first member of an array or object */
  struct json *next;  /* the next member of the same array or object */
};

/* Returns the value, or null with a sentence in *error. The memory lives as long as the program. */
struct json *json_parse(const char *text, size_t size, const char **error);

/* Returns the member of an object, or null when `object` is null, no object or has no such member. */
struct json *json_member(const struct json *object, const char *key);

#endif
