/* The folder is looked into at an interval, which works on every file system, over a network too. A file is taken once
 * two looks in a row found it with the same size and time: whoever writes it slower than that should write it under
 * another name and rename it. Names that begin with a dot or have no known ending are left alone. */
#include "commands/watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "bundle/bundle.h"
#include "bundle/text.h"
#include "commands/stopping.h"

#ifdef __APPLE__
#define MODIFIED st_mtimespec
#else
#define MODIFIED st_mtim
#endif

struct entry {
  char *name;
  int64_t size, seconds, nanoseconds, number; /* of the file; another number is another file of the same name */
  int done;                                   /* classified, or there before and not wanted */
};

struct listing {
  struct entry *entries; /* sorted by name */
  size_t count, room;
};

static int is_picture(const char *name) {
  static const char *const endings[] = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".rgb"};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && name[0] != '.' && i < sizeof endings / sizeof endings[0]; i++) {
    if (!strcasecmp(dot, endings[i])) return 1;
  }
  return 0;
}

static int by_name(const void *left, const void *right) {
  return strcmp(((const struct entry *)left)->name, ((const struct entry *)right)->name);
}

static void add(struct listing *listing, int folder, const char *name) {
  struct stat status;
  if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) || !S_ISREG(status.st_mode)) return;
  if (listing->count == listing->room) {
    listing->room = listing->room * 2 + 64;
    listing->entries = realloc(listing->entries, listing->room * sizeof *listing->entries);
    if (!listing->entries) stop(EXIT_OTHER, "out of memory: the folder holds too many pictures");
  }
  char *copy = allocate(strlen(name) + 1);
  strcpy(copy, name);
  listing->entries[listing->count++] = (struct entry){
      copy, status.st_size, status.MODIFIED.tv_sec, status.MODIFIED.tv_nsec, (int64_t)status.st_ino, 0};
}

static struct listing list(const char *path) {
  struct listing listing = {NULL, 0, 0};
  DIR *folder = opendir(path);
  if (!folder) stop(EXIT_USAGE, "cannot list %s: %s", path, strerror(errno));
  for (struct dirent *entry; (entry = readdir(folder));) {
    if (is_picture(entry->d_name)) add(&listing, dirfd(folder), entry->d_name);
  }
  closedir(folder);
  if (listing.count) qsort(listing.entries, listing.count, sizeof *listing.entries, by_name);
  return listing;
}

static void forget(struct listing *listing) {
  for (size_t i = 0; i < listing->count; i++) free(listing->entries[i].name);
  free(listing->entries);
}

static const struct entry *same(const struct listing *before, const struct entry *entry) {
  const struct entry *found =
      before->count ? bsearch(entry, before->entries, before->count, sizeof *entry, by_name) : NULL;
  int unchanged = found && found->size == entry->size && found->seconds == entry->seconds &&
                  found->nanoseconds == entry->nanoseconds && found->number == entry->number;
  return unchanged ? found : NULL;
}

static void take(const struct classifier *classifier, const char *folder, const char *name) {
  char *path = join(folder, name);
  const char *problem = classify(classifier, path);
  if (problem) fprintf(stderr, "repghost-run: %s\n", problem);
  free(path);
  send_output();
}

/* Classifies what has come to rest since the look before; returns how many. */
static int take_new(const struct classifier *classifier, const struct watch *wanted, const struct listing *before,
                    struct listing *now, int most) {
  int taken = 0;
  for (size_t i = 0; i < now->count && !stopped(); i++) {
    struct entry *entry = &now->entries[i];
    const struct entry *seen = same(before, entry);
    entry->done = seen && seen->done;
    if (!seen || entry->done || entry->size == 0 || (most && taken == most)) continue;
    take(classifier, wanted->folder, entry->name);
    entry->done = 1, taken++;
  }
  return taken;
}

void watch(const struct classifier *classifier, const struct watch *wanted) {
  stop_on_signals();
  struct listing before = list(wanted->folder);
  for (size_t i = 0; i < before.count; i++) before.entries[i].done = !wanted->existing;
  printf("{\"command\":\"watch\",\"folder\":");
  print_string(wanted->folder, strlen(wanted->folder));
  printf(",\"interval_ms\":%d,\"variant\":\"%s\"}\n", wanted->interval_ms, classifier->model->variant());
  send_output();
  for (int taken = 0; !stopped() && (!wanted->most || taken < wanted->most);) {
    rest(wanted->interval_ms);
    struct listing now = list(wanted->folder);
    taken += take_new(classifier, wanted, &before, &now, wanted->most ? wanted->most - taken : 0);
    forget(&before);
    before = now;
  }
  forget(&before);
}
