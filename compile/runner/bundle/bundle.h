/* A bundle on disk: its files, all checked against manifest.json before anything in them is used. */
#ifndef RG_BUNDLE_H
#define RG_BUNDLE_H

#include <stddef.h>
#include <stdint.h>

/* The exit codes of repghost-run, the same as those of the repghost command. */
enum { EXIT_DONE = 0, EXIT_OTHER = 1, EXIT_USAGE = 2, EXIT_UNSUPPORTED = 4, EXIT_UNREACHABLE = 5, EXIT_INTEGRITY = 6 };

#ifdef __APPLE__
#define MODEL_FILE "model.dylib"
#else
#define MODEL_FILE "model.so"
#endif

struct file {
  uint8_t *data; /* a zero byte follows the last one */
  size_t size;
};

/* Prints `repghost-run: ` and the message to standard error and ends the program with `code`. */
void stop(int code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* Gives what was printed to standard output to whoever reads it; ends the program when nobody can. */
void send_output(void);

/* Ends the program when standard input could not be read, rather than taking that for its end. */
void check_input(void);

/* Returns memory of `size` bytes, at least 1; ends the program when there is none. */
void *allocate(size_t size);

/* Reads a regular file of at most `limit` bytes. Returns null, or a sentence that lasts until the next call. */
const char *try_read_file(const char *path, size_t limit, struct file *file);

/* The same, but ends the program with `code` when that fails. */
struct file read_file(const char *path, size_t limit, int code);

/* Returns folder/name. */
char *join(const char *folder, const char *name);

/* Checks that `folder` holds exactly the files of its manifest.json, each a regular file with the size and SHA-256
 * given there, and returns how many there are. Ends the program with EXIT_INTEGRITY otherwise. */
int check_bundle(const char *folder);

#endif
