/* Loading model.so: by the system's loader, or in a static program, which has none, by our own. */
#ifndef RG_LOADER_H
#define RG_LOADER_H

/* Loads the library at `path`. Returns null with a sentence in *problem when that fails. It stays until the end. */
void *loader_open(const char *path, const char **problem);

/* Returns the address of a function of the library, or null when it has none of that name. */
void *loader_symbol(void *library, const char *name);

#endif
