#include "bundle/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle/json.h"
#include "bundle/sha256.h"

#define MANIFEST "manifest.json"
#define FORMAT "repghost-bundle"
enum { MANIFEST_VERSION = 1, RESULTS_VERSION = 2, NAME_LIMIT = 64 }; /* the second of networks with several results */
static const size_t manifest_limit = 1 << 20, file_limit = (size_t)1 << 30;

void stop(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  fputs("repghost-run: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(code);
}

void send_output(void) {
  if (fflush(stdout) || ferror(stdout)) stop(EXIT_OTHER, "cannot write the result: %s", strerror(errno));
}

void check_input(void) {
  if (ferror(stdin)) stop(EXIT_OTHER, "cannot read standard input: %s", strerror(errno));
}

void *allocate(size_t size) {
  void *memory = malloc(size ? size : 1);
  if (!memory) stop(EXIT_OTHER, "out of memory: %zu bytes were needed", size);
  return memory;
}

char *join(const char *folder, const char *name) {
  size_t size = strlen(folder) + strlen(name) + 2;
  char *path = allocate(size);
  snprintf(path, size, "%s/%s", folder, name);
  return path;
}

static const char *failure(const char *path, const char *reason) {
  static char text[PATH_MAX + 128];
  snprintf(text, sizeof text, "cannot read %s: %s", path, reason);
  return text;
}

/* Reads `size` bytes of an open file. */
static const char *read_all(int descriptor, const char *path, size_t size, struct file *file) {
  while (file->size < size) {
    ssize_t got = read(descriptor, file->data + file->size, size - file->size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return failure(path, got ? strerror(errno) : "it became shorter");
    file->size += (size_t)got;
  }
  file->data[size] = 0;
  return NULL;
}

static const char *read_open_file(int descriptor, const char *path, size_t limit, struct file *file) {
  struct stat status;
  char reason[96];
  if (fstat(descriptor, &status)) return failure(path, strerror(errno));
  if (!S_ISREG(status.st_mode)) return failure(path, "it is not a regular file");
  snprintf(reason, sizeof reason, "it has %lld bytes; at most %zu are allowed", (long long)status.st_size, limit);
  if ((uint64_t)status.st_size > limit) return failure(path, reason);
  file->data = malloc((size_t)status.st_size + 1);
  if (!file->data) return failure(path, "there is not enough memory");
  const char *problem = read_all(descriptor, path, (size_t)status.st_size, file);
  if (problem) free(file->data);
  return problem;
}

const char *try_read_file(const char *path, size_t limit, struct file *file) {
  *file = (struct file){NULL, 0};
  /* O_NONBLOCK: opening a pipe that nobody writes to must not wait; regular files ignore it. */
  int descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return failure(path, errno == ELOOP ? "it is a symbolic link" : strerror(errno));
  const char *problem = read_open_file(descriptor, path, limit, file);
  close(descriptor);
  return problem;
}

struct file read_file(const char *path, size_t limit, int code) {
  struct file file;
  const char *problem = try_read_file(path, limit, &file);
  if (problem) stop(code, "%s", problem);
  return file;
}

/* A name is one path component of plain characters, so it cannot leave the folder. */
static int plain_name(const char *name) {
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  size_t size = strlen(name);
  return size > 0 && size <= NAME_LIMIT && name[0] != '.' && name[0] != '-' && strspn(name, allowed) == size;
}

static void check_file(const char *folder, const struct json *entry) {
  const struct json *size = json_member(entry, "size"), *digest = json_member(entry, "sha256");
  if (!plain_name(entry->key) || !strcmp(entry->key, MANIFEST))
    stop(EXIT_INTEGRITY, MANIFEST ": '%s' is no allowed file name", entry->key);
  if (!size || size->kind != JSON_NUMBER || !digest || digest->kind != JSON_STRING)
    stop(EXIT_INTEGRITY, MANIFEST ": %s has no size or no sha256", entry->key);
  struct file file = read_file(join(folder, entry->key), file_limit, EXIT_INTEGRITY);
  if ((double)file.size != size->number)
    stop(EXIT_INTEGRITY, "%s has %zu bytes, but " MANIFEST " says %.0f", entry->key, file.size, size->number);
  char hex[SHA256_HEX + 1];
  sha256_hex(file.data, file.size, hex);
  if (strcmp(hex, digest->string))
    stop(EXIT_INTEGRITY, "%s was changed: its SHA-256 is %s, but " MANIFEST " says %s; copy the bundle again", entry->key,
         hex, digest->string);
  free(file.data);
}

static void check_listing(const char *folder, const struct json *files) {
  DIR *listing = opendir(folder);
  if (!listing) stop(EXIT_USAGE, "cannot list %s: %s", folder, strerror(errno));
  for (struct dirent *entry; (entry = readdir(listing));) {
    const char *name = entry->d_name;
    if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, MANIFEST) || json_member(files, name)) continue;
    stop(EXIT_INTEGRITY, "%s lies in the bundle but not in " MANIFEST "; remove it", name);
  }
  closedir(listing);
}

int check_bundle(const char *folder) {
  struct stat status;
  char *path = join(folder, MANIFEST);
  if (stat(folder, &status) || !S_ISDIR(status.st_mode)) stop(EXIT_USAGE, "%s is no folder", folder);
  if (lstat(path, &status)) stop(EXIT_USAGE, "%s holds no " MANIFEST "; give the folder of a bundle with --bundle", folder);
  struct file text = read_file(path, manifest_limit, EXIT_INTEGRITY);
  const char *error = NULL;
  struct json *manifest = json_parse((const char *)text.data, text.size, &error);
  if (!manifest) stop(EXIT_INTEGRITY, MANIFEST " is not strict JSON: %s", error);
  const struct json *format = json_member(manifest, "format"), *version = json_member(manifest, "version");
  const struct json *files = json_member(manifest, "files");
  if (!format || format->kind != JSON_STRING || strcmp(format->string, FORMAT))
    stop(EXIT_INTEGRITY, MANIFEST ": format is not \"" FORMAT "\"");
  if (!version || version->kind != JSON_NUMBER ||
      (version->number != MANIFEST_VERSION && version->number != RESULTS_VERSION))
    stop(EXIT_INTEGRITY, MANIFEST ": this runner reads versions %d and %d only; take the runner that lies in the bundle",
         MANIFEST_VERSION, RESULTS_VERSION);
  if (!files || files->kind != JSON_OBJECT || !json_member(files, MODEL_FILE))
    stop(EXIT_INTEGRITY, MANIFEST ": files does not name " MODEL_FILE);
  int count = 0;
  for (const struct json *entry = files->child; entry; entry = entry->next, count++) check_file(folder, entry);
  check_listing(folder, files);
  return count;
}
