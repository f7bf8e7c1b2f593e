/* What makes a folder a board: preloaded into sshd and everything an account of it runs.
 *
 * BOARD_USER, BOARD_HOME, BOARD_SHELL   the one account; its number is that of the process
 * BOARD_QEMU, BOARD_SYSROOT, BOARD_CPU  arm64 programs are started by this emulator
 * BOARD_FILES                           a folder whose files stand for /proc/cpuinfo, /sys/... and the like
 * BOARD_FULL                            no file can become larger than so many bytes: the disk is full
 * BOARD_NOEXEC                          no program below the home can be started: it is mounted so
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

static struct passwd *account(void) {
  static struct passwd entry;
  static char password[] = "x";
  entry.pw_name = getenv("BOARD_USER"), entry.pw_passwd = password, entry.pw_gecos = entry.pw_name;
  entry.pw_uid = getuid(), entry.pw_gid = getgid();
  entry.pw_dir = getenv("BOARD_HOME"), entry.pw_shell = getenv("BOARD_SHELL");
  return entry.pw_name ? &entry : NULL;
}

struct passwd *getpwnam(const char *name) {
  struct passwd *entry = account();
  if (entry && !strcmp(name, entry->pw_name)) return entry;
  return REAL("getpwnam", struct passwd *(*)(const char *))(name);
}

struct passwd *getpwuid(uid_t uid) {
  struct passwd *entry = account();
  if (entry && uid == entry->pw_uid) return entry;
  return REAL("getpwuid", struct passwd *(*)(uid_t))(uid);
}

static int is_arm64(const char *path) {
  unsigned char head[20];
  int file = open(path, O_RDONLY | O_CLOEXEC), whole = file >= 0 && read(file, head, sizeof head) == sizeof head;
  if (file >= 0) close(file);
  return whole && !memcmp(head, "\177ELF", 4) && head[18] == 183;
}

int execve(const char *path, char *const arguments[], char *const environment[]) {
  int (*real)(const char *, char *const *, char *const *) = REAL("execve", int (*)(const char *, char *const *, char *const *));
  const char *qemu = getenv("BOARD_QEMU");
  if (getenv("BOARD_NOEXEC") && path[0] == '.') return errno = EACCES, -1;
  if (!qemu || access(path, X_OK) || !is_arm64(path)) return real(path, arguments, environment);
  char *words[64] = {(char *)qemu, "-L", getenv("BOARD_SYSROOT"), "-cpu", getenv("BOARD_CPU"), (char *)path};
  for (int i = 1; i < 56 && arguments[i]; i++) words[5 + i] = arguments[i];
  char *kept[256];
  int count = 0;
  for (int i = 0; environment[i] && count < 255; i++) /* the emulator is no program of the board */
    if (strncmp(environment[i], "LD_PRELOAD=", 11)) kept[count++] = environment[i];
  kept[count] = NULL;
  return real(qemu, words, kept);
}

static const char *redirected(const char *path, char *place, size_t size) {
  static const char *const prefixes[] = {"/proc/cpuinfo", "/proc/device-tree/", "/sys/devices/system/cpu/", "/sys/class/thermal/"};
  const char *files = getenv("BOARD_FILES");
  for (size_t i = 0; files && i < sizeof prefixes / sizeof *prefixes; i++) {
    if (strncmp(path, prefixes[i], strlen(prefixes[i]))) continue;
    snprintf(place, size, "%s%s", files, path);
    return place;
  }
  return path;
}

#define OPEN(name)                                                                          \
  int name(const char *path, int flags, ...) {                                              \
    char place[4096];                                                                       \
    va_list rest;                                                                           \
    va_start(rest, flags);                                                                  \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                 \
    va_end(rest);                                                                           \
    return REAL(#name, int (*)(const char *, int, ...))(redirected(path, place, sizeof place), flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                        \
  int name(int folder, const char *path, int flags, ...) {                                  \
    char place[4096];                                                                       \
    va_list rest;                                                                           \
    va_start(rest, flags);                                                                  \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                 \
    va_end(rest);                                                                           \
    return REAL(#name, int (*)(int, const char *, int, ...))(folder, redirected(path, place, sizeof place), flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                                         \
  FILE *name(const char *path, const char *mode) {                                          \
    char place[4096];                                                                       \
    return REAL(#name, FILE *(*)(const char *, const char *))(redirected(path, place, sizeof place), mode); \
  }
FOPEN(fopen)
FOPEN(fopen64)

/* Whether a file can be read: sh asks before it opens. */
int faccessat(int folder, const char *path, int mode, int flags) {
  char place[4096];
  return REAL("faccessat", int (*)(int, const char *, int, int))(folder, redirected(path, place, sizeof place), mode, flags);
}

ssize_t write(int file, const void *data, size_t size) {
  struct stat status;
  const char *full = getenv("BOARD_FULL");
  if (full && !fstat(file, &status) && S_ISREG(status.st_mode) && status.st_size + (off_t)size > atol(full)) {
    errno = ENOSPC;
    return -1;
  }
  return REAL("write", ssize_t(*)(int, const void *, size_t))(file, data, size);
}
