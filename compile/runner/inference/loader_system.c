#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "inference/loader.h"

/* Reads how many bits a file of code is for and for which processor; returns whether it could. */
static int read_machine(const char *path, unsigned char machine[3]) {
  unsigned char header[20]; /* of ELF: the class is byte 4, the processor bytes 18 and 19 */
  FILE *file = fopen(path, "rb");
  int whole = file && fread(header, 1, sizeof header, file) == sizeof header && !memcmp(header, "\177ELF", 4);
  if (file) fclose(file);
  if (whole) machine[0] = header[4], machine[1] = header[18], machine[2] = header[19];
  return whole;
}

/* Whether code on the file system of a file may not be run. */
static int forbidden(const char *path) {
#ifdef ST_NOEXEC
  struct statvfs status;
  return !statvfs(path, &status) && status.f_flag & ST_NOEXEC;
#else
  (void)path;
  return 0;
#endif
}

/* The system says of a library for another processor that there is no such file, and of one that may not be run that a
 * segment cannot be mapped. */
static const char *reason(const char *path) {
  const char *said = dlerror();
  unsigned char own[3], other[3];
  if (forbidden(path)) return "its file system is mounted with noexec; copy the bundle to another one";
  int known = read_machine("/proc/self/exe", own) && read_machine(path, other);
  return known && memcmp(own, other, sizeof own) ? "it is no library for this machine" : said;
}

void *loader_open(const char *path, const char **problem) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  *problem = library ? "" : reason(path);
  return library;
}

void *loader_symbol(void *library, const char *name) { return dlsym(library, name); }
