/* For fuzzing the runner, whose memory lives as long as its process: memory that is given back after each input, an `exit`
 * that goes on with the next one, and a file of the input's bytes. A fuzzer includes this first, then the C files. */
#ifndef RG_ARENA_H
#define RG_ARENA_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_BLOCKS = 1 << 16 };

static void *blocks[MOST_BLOCKS];
static size_t block_count;
static jmp_buf next_input;
static FILE *quiet;
static char folder[64]; /* of the files that the runner reads */

#define REQUIRE(condition) ((condition) ? (void)0 : abort())

static void *remember(void *block) {
  REQUIRE(block_count < MOST_BLOCKS);
  if (block) blocks[block_count++] = block;
  return block;
}

static void *arena_malloc(size_t size) { return remember(malloc(size)); }

static void *arena_calloc(size_t count, size_t size) { return remember(calloc(count, size)); }

static void arena_free(void *block) {
  for (size_t i = block_count; i-- > 0;) {
    if (blocks[i] != block) continue;
    blocks[i] = blocks[--block_count];
    break;
  }
  free(block);
}

static void arena_clear(void) {
  while (block_count > 0) free(blocks[--block_count]);
}

static void arena_exit(int code) __attribute__((noreturn));

static void arena_exit(int code) {
  REQUIRE(code > 0);
  longjmp(next_input, code);
}

static char *path_of(const char *name) {
  static char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static void write_input(const char *name, const uint8_t *data, size_t size) {
  FILE *file = fopen(path_of(name), "wb");
  REQUIRE(file && fwrite(data, 1, size, file) == size && !fclose(file));
}

static void remove_folder(void) {
  static const char *const names[] = {"manifest.json", "model.so", "labels.txt", "vectors.bin"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) unlink(path_of(names[i]));
  rmdir(folder);
}

/* Nothing is opened but the files of the folder, whatever names the input gives. */
static int arena_open(const char *path, int flags) {
  size_t length = strlen(folder);
  REQUIRE(!strncmp(path, folder, length) && path[length] == '/' && !strchr(path + length + 1, '/'));
  return open(path, flags);
}

int LLVMFuzzerInitialize(int *count, char ***arguments);

int LLVMFuzzerInitialize(int *count, char ***arguments) {
  (void)count, (void)arguments;
  snprintf(folder, sizeof folder, "%s/rg-fuzz-XXXXXX", access("/dev/shm", W_OK) ? "." : "/dev/shm"); /* memory is quick */
  REQUIRE(mkdtemp(folder) && (quiet = fopen("/dev/null", "w")));
  return atexit(remove_folder);
}

#define malloc arena_malloc
#define calloc arena_calloc
#define free arena_free
#define exit arena_exit
#define open arena_open
#undef stderr
#define stderr quiet

#endif
