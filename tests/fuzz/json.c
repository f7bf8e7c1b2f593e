/* The reader of manifests: what it takes has no double keys, and every string in it ends. */
#include "arena.h"
#include "bundle/json.c"

static size_t walk(const struct json *value, int depth) {
  size_t bytes = value->string ? strlen(value->string) : 0;
  REQUIRE(depth <= DEPTH_LIMIT && (value->kind == JSON_STRING) == !!value->string);
  for (const struct json *member = value->child; member; member = member->next) {
    REQUIRE((value->kind == JSON_OBJECT) == !!member->key && (value->kind == JSON_OBJECT || value->kind == JSON_ARRAY));
    if (member->key) REQUIRE(json_member(value, member->key) == member);
    bytes += walk(member, depth + 1);
  }
  return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *error = NULL;
  struct json *value = json_parse((const char *)data, size, &error);
  REQUIRE(!value == !!error);
  if (value) REQUIRE(walk(value, 0) <= size);
  arena_clear();
  return 0;
}
