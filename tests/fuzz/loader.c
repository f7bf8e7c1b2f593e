/* The runner's own loader: it maps and changes rights inside of its image only, and nothing is writable and executable. */
#include <sys/mman.h>

#include "arena.h"

static uint8_t *image;
static size_t image_bytes;
static int input;

static void require_inside(const void *place, size_t bytes) {
  const uint8_t *begin = place;
  REQUIRE(image && begin >= image && bytes <= image_bytes && (size_t)(begin - image) <= image_bytes - bytes);
}

static size_t whole_pages(size_t bytes) { return (bytes + 4095) / 4096 * 4096; }

static void *watched_mmap(void *place, size_t bytes, int rights, int flags, int file, off_t offset) {
  REQUIRE((rights & (PROT_WRITE | PROT_EXEC)) != (PROT_WRITE | PROT_EXEC) && !(flags & MAP_FIXED) == !place);
  if (place) require_inside(place, whole_pages(bytes));
  void *found = mmap(place, bytes, rights, flags, file, offset);
  if (!place && found != MAP_FAILED) image = found, image_bytes = whole_pages(bytes);
  return found;
}

static int watched_mprotect(void *place, size_t bytes, int rights) {
  require_inside(place, bytes);
  REQUIRE(rights == PROT_READ);
  return mprotect(place, bytes, rights);
}

#undef open
#define open(path, flags) ((void)(path), dup(input))
#define mmap watched_mmap
#define mprotect watched_mprotect
#include "inference/loader_own.c"

void *allocate(size_t size) { return calloc(1, size); }

static void close_image(void) {
  if (image) munmap(image, image_bytes);
  image = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const names[] = {"rg_abi", "rg_infer", "", "nothing"};
  const char *problem = NULL;
  input = memfd_create("library", MFD_CLOEXEC);
  REQUIRE(input >= 0 && write(input, data, size) == (ssize_t)size);
  void *library = loader_open("library", &problem);
  REQUIRE(!library == !!problem);
  for (size_t i = 0; library && i < sizeof names / sizeof names[0]; i++) {
    void *found = loader_symbol(library, names[i]);
    if (found) require_inside(found, 1);
  }
  close(input);
  close_image();
  arena_clear();
  return 0;
}
