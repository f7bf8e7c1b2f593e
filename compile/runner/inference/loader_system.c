#include <dlfcn.h>

#include "inference/loader.h"

void *loader_open(const char *path, const char **problem) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  *problem = library ? "" : dlerror();
  return library;
}

void *loader_symbol(void *library, const char *name) { return dlsym(library, name); }
