/* A loader for libraries like model.so: they need no other library, run nothing while they are loaded, and want at most
 * one function, getauxval, from outside. A static program with it starts on every Linux kernel of its architecture,
 * whatever the C library of the system is; Android's is one of those.
 *
 * The digest of the file was checked before. Nothing in it is believed all the same: no table may leave the image, none
 * that is read after a relocation can be written by one, and no memory is writable and executable at once.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bundle/bundle.h"
#include "inference/loader.h"

/* Relocations hold what is added to a symbol (DT_RELA), or it stands where they write (DT_REL). */
#if defined(__aarch64__)
enum { MACHINE = EM_AARCH64, RELATIVE = 1027, GLOBAL = 1025, SLOT = 1026, ABSOLUTE = 257 }; /* R_AARCH64_* */
#elif defined(__arm__)
enum { MACHINE = EM_ARM, RELATIVE = 23, GLOBAL = 21, SLOT = 22, ABSOLUTE = 2 }; /* R_ARM_* */
#define ADDENDS_IN_PLACE
#elif defined(__x86_64__)
enum { MACHINE = EM_X86_64, RELATIVE = 8, GLOBAL = 6, SLOT = 7, ABSOLUTE = 1 }; /* R_X86_64_* */
#else
#error "no row of compile/targets/table.py has a static runner for this machine"
#endif
#if UINTPTR_MAX == UINT32_MAX
#define SYMBOL_OF ELF32_R_SYM
#define TYPE_OF ELF32_R_TYPE
enum { CLASS = ELFCLASS32 };
#else
#define SYMBOL_OF ELF64_R_SYM
#define TYPE_OF ELF64_R_TYPE
enum { CLASS = ELFCLASS64 };
#endif
#ifdef ADDENDS_IN_PLACE
typedef ElfW(Rel) relocation;
enum { TABLE = DT_REL, TABLE_BYTES = DT_RELSZ, OTHER_TABLE = DT_RELA };
static uint64_t addend(const relocation *entry, const uintptr_t *place) { return (void)entry, *place; }
#else
typedef ElfW(Rela) relocation;
enum { TABLE = DT_RELA, TABLE_BYTES = DT_RELASZ, OTHER_TABLE = DT_REL };
static uint64_t addend(const relocation *entry, const uintptr_t *place) { return (void)place, (uint64_t)entry->r_addend; }
#endif

enum { MOST_SEGMENTS = 16 };
static const uint64_t most_bytes = (uint64_t)1 << (sizeof(void *) == 4 ? 30 : 31); /* so that no sum leaves an address */

struct image {
  uint8_t *base; /* where address 0 of the library lies */
  uint64_t size; /* bytes from there */
  uint64_t page;
  int segments;
  ElfW(Phdr) segment[MOST_SEGMENTS];
  const ElfW(Sym) *symbols;
  uint64_t symbol_count;
  const char *names;
  uint64_t names_size;
};

/* Returns whether one segment with all of `flags` holds the bytes. */
static int held(const struct image *image, uint64_t address, uint64_t bytes, uint32_t flags) {
  for (int i = 0; i < image->segments; i++) {
    const ElfW(Phdr) *s = &image->segment[i];
    if (s->p_type == PT_LOAD && (s->p_flags & flags) == flags && address >= s->p_vaddr && bytes <= s->p_memsz &&
        address - s->p_vaddr <= s->p_memsz - bytes)
      return 1;
  }
  return 0;
}

/* Returns the memory of `count` things of `size` bytes at an address of the library; null when they are not in it. */
static void *within(const struct image *image, uint64_t address, uint64_t count, uint64_t size) {
  int aligned = address % (size < sizeof(void *) ? size : sizeof(void *)) == 0;
  return count <= image->size / size && aligned && held(image, address, count * size, PF_R) ? image->base + address : NULL;
}

/* The same for what relocations must not change. */
static void *constant(const struct image *image, uint64_t address, uint64_t count, uint64_t size) {
  void *found = within(image, address, count, size);
  return found && !held(image, address, count * size, PF_W) ? found : NULL;
}

static const char *read_headers(int file, struct image *image) {
  ElfW(Ehdr) header;
  if (pread(file, &header, sizeof header, 0) != sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG))
    return "it is no ELF file";
  if (header.e_ident[EI_CLASS] != CLASS || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_DYN ||
      header.e_machine != MACHINE)
    return "it is no library for this machine";
  if (header.e_phentsize != sizeof(ElfW(Phdr)) || header.e_phnum < 1 || header.e_phnum > MOST_SEGMENTS)
    return "its table of segments is damaged";
  ssize_t bytes = (ssize_t)(header.e_phnum * sizeof(ElfW(Phdr)));
  if (pread(file, image->segment, (size_t)bytes, (off_t)header.e_phoff) != bytes) return "it is truncated";
  image->segments = header.e_phnum;
  return NULL;
}

/* Checks one segment that is mapped; `end` is where the one before it ends. */
static const char *check_segment(const ElfW(Phdr) *s, uint64_t page, uint64_t file_bytes, uint64_t end) {
  if (s->p_vaddr > most_bytes || s->p_memsz > most_bytes || s->p_filesz > s->p_memsz || s->p_offset > most_bytes ||
      s->p_offset + s->p_filesz > file_bytes || (s->p_vaddr - s->p_offset) % page)
    return "a segment is damaged";
  if ((s->p_flags & PF_W) && (s->p_flags & PF_X)) return "a segment is writable and executable";
  /* Each page belongs to one segment, so that its rights and its bytes are those that this segment says. */
  return s->p_vaddr / page * page < end ? "segments overlap or are not in order" : NULL;
}

static const char *measure(int file, struct image *image) {
  struct stat status;
  int tables = 0;
  if (fstat(file, &status)) return strerror(errno);
  for (int i = 0; i < image->segments; i++) {
    const ElfW(Phdr) *s = &image->segment[i];
    tables += s->p_type == PT_DYNAMIC;
    if (s->p_type == PT_TLS) return "it has data of each thread";
    if (s->p_type != PT_LOAD) continue;
    uint64_t end = (image->size + image->page - 1) / image->page * image->page;
    const char *problem = check_segment(s, image->page, (uint64_t)status.st_size, end);
    if (problem) return problem;
    image->size = s->p_vaddr + s->p_memsz;
  }
  if (tables > 1) return "it has several dynamic tables";
  return image->size ? NULL : "it has no segments";
}

static int protection(uint32_t flags) {
  return (flags & PF_R ? PROT_READ : 0) | (flags & PF_W ? PROT_WRITE : 0) | (flags & PF_X ? PROT_EXEC : 0);
}

static int map_at(void *place, uint64_t bytes, int rights, int flags, int file, uint64_t offset) {
  return mmap(place, bytes, rights, MAP_PRIVATE | MAP_FIXED | flags, file, (off_t)offset) != MAP_FAILED;
}

/* Maps one segment; what the file does not hold of it is zero. */
static const char *map_segment(int file, const struct image *image, const ElfW(Phdr) *s) {
  int rights = protection(s->p_flags);
  uint64_t before = s->p_vaddr % image->page, filled = s->p_filesz + before, whole = s->p_memsz + before;
  uint8_t *start = image->base + s->p_vaddr - before;
  uint64_t pages = (filled + image->page - 1) / image->page * image->page;
  if (s->p_filesz && !map_at(start, filled, rights, 0, file, s->p_offset - before)) return strerror(errno);
  if (!s->p_filesz) pages = 0;
  if (whole <= filled) return NULL;
  if (!(s->p_flags & PF_W)) return "a segment with zeros cannot be written";
  if (pages) memset(start + filled, 0, (whole < pages ? whole : pages) - filled);
  if (whole > pages && !map_at(start + pages, whole - pages, rights, MAP_ANONYMOUS, -1, 0)) return strerror(errno);
  return NULL;
}

static const char *map_all(int file, struct image *image) {
  void *place = mmap(NULL, image->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) return strerror(errno);
  image->base = place;
  for (int i = 0; i < image->segments; i++) {
    const char *problem = image->segment[i].p_type == PT_LOAD ? map_segment(file, image, &image->segment[i]) : NULL;
    if (problem) return problem;
  }
  return NULL;
}

/* Returns the value of a tag of the dynamic table, or 0. */
static uint64_t dynamic(const struct image *image, int64_t tag) {
  for (int i = 0; i < image->segments; i++) {
    const ElfW(Phdr) *s = &image->segment[i];
    const ElfW(Dyn) *entry = within(image, s->p_vaddr, s->p_memsz / sizeof *entry, sizeof *entry);
    if (s->p_type != PT_DYNAMIC || !entry) continue;
    for (uint64_t left = s->p_memsz / sizeof *entry; left > 0 && entry->d_tag != DT_NULL; left--, entry++) {
      if (entry->d_tag == tag) return entry->d_un.d_val;
    }
  }
  return 0;
}

static const char *find_symbols(struct image *image) {
  static const int64_t unwanted[] = {DT_NEEDED, DT_INIT, DT_INIT_ARRAY, DT_TEXTREL, OTHER_TABLE, DT_RELR};
  for (size_t i = 0; i < sizeof unwanted / sizeof unwanted[0]; i++) {
    if (dynamic(image, unwanted[i])) return "it needs a library, runs code while it is loaded, or is relocated otherwise";
  }
  const uint32_t *hash = constant(image, dynamic(image, DT_HASH), 2, sizeof *hash);
  if (!dynamic(image, DT_HASH) || !hash) return "it has no table of symbols";
  image->symbol_count = hash[1];
  image->symbols = constant(image, dynamic(image, DT_SYMTAB), image->symbol_count, sizeof *image->symbols);
  image->names_size = dynamic(image, DT_STRSZ);
  image->names = constant(image, dynamic(image, DT_STRTAB), image->names_size, 1);
  if (!image->symbols || !image->names || !image->names_size) return "its table of symbols is damaged";
  return image->names[image->names_size - 1] ? "a name does not end" : NULL;
}

static const char *name_of(const struct image *image, const ElfW(Sym) *symbol) {
  return symbol->st_name < image->names_size ? image->names + symbol->st_name : "";
}

/* Sets *value to what a symbol stands for. */
static const char *resolve(const struct image *image, uint64_t index, uint64_t *value) {
  if (index >= image->symbol_count) return "a relocation is damaged";
  const ElfW(Sym) *symbol = &image->symbols[index];
  if (symbol->st_shndx != SHN_UNDEF) {
    *value = (uint64_t)(uintptr_t)image->base + symbol->st_value;
    return NULL;
  }
  *value = strcmp(name_of(image, symbol), "getauxval") ? 0 : (uint64_t)(uintptr_t)&getauxval;
  return *value || ELF64_ST_BIND(symbol->st_info) == STB_WEAK ? NULL : "it wants a function from outside";
}

static const char *relocate(const struct image *image, uint64_t table, uint64_t bytes) {
  const relocation *entry = constant(image, table, bytes / sizeof *entry, sizeof *entry);
  if (bytes && (!entry || bytes % sizeof *entry)) return "its relocations are damaged";
  for (uint64_t left = bytes / sizeof *entry; left > 0; left--, entry++) {
    uint64_t value = (uint64_t)(uintptr_t)image->base, type = TYPE_OF(entry->r_info);
    uintptr_t *place = within(image, entry->r_offset, 1, sizeof *place);
    if (!place || !held(image, entry->r_offset, sizeof *place, PF_R | PF_W)) return "a relocation leaves the data";
    int known = type == RELATIVE || type == GLOBAL || type == SLOT || type == ABSOLUTE;
    if (!known) return "a relocation is of an unknown kind";
    const char *problem = type == RELATIVE ? NULL : resolve(image, SYMBOL_OF(entry->r_info), &value);
    if (problem) return problem;
    *place = (uintptr_t)(value + (type == GLOBAL || type == SLOT ? 0 : addend(entry, place)));
  }
  return NULL;
}

/* What only relocations had to write is read from now on. */
static const char *seal(const struct image *image) {
  for (int i = 0; i < image->segments; i++) {
    const ElfW(Phdr) *s = &image->segment[i];
    if (s->p_type != PT_GNU_RELRO) continue;
    if (!held(image, s->p_vaddr, s->p_memsz, PF_R | PF_W)) return "what is to be sealed is no data";
    uint64_t start = s->p_vaddr / image->page * image->page;
    uint64_t end = (s->p_vaddr + s->p_memsz) / image->page * image->page;
    if (end > start && mprotect(image->base + start, end - start, PROT_READ)) return "it cannot be sealed";
  }
  return NULL;
}

static const char *load(int file, struct image *image) {
  const char *problem = read_headers(file, image);
  if (!problem) problem = measure(file, image);
  if (!problem) problem = map_all(file, image);
  if (!problem) problem = find_symbols(image);
  if (!problem) problem = relocate(image, dynamic(image, TABLE), dynamic(image, TABLE_BYTES));
  if (!problem) problem = relocate(image, dynamic(image, DT_JMPREL), dynamic(image, DT_PLTRELSZ));
  return problem ? problem : seal(image);
}

void *loader_open(const char *path, const char **problem) {
  struct image *image = allocate(sizeof *image);
  *image = (struct image){.page = (uint64_t)sysconf(_SC_PAGESIZE)};
  int file = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  *problem = file < 0 ? strerror(errno) : load(file, image);
  if (file >= 0) close(file);
  return *problem ? NULL : image;
}

void *loader_symbol(void *library, const char *name) {
  const struct image *image = library;
  for (uint64_t i = 0; i < image->symbol_count; i++) {
    const ElfW(Sym) *symbol = &image->symbols[i];
    if (symbol->st_shndx != SHN_UNDEF && held(image, symbol->st_value, 1, PF_X) && !strcmp(name_of(image, symbol), name))
      return image->base + symbol->st_value;
  }
  return NULL;
}
