#include "reuse.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Lines are numbered by their first use and stand in one list, the newest use first. `zone` is the index of the smallest
 * capacity that still holds the line, CAPACITIES where none does; `last[i]` is the last line that capacity i holds. */
struct line {
  uint64_t address;
  uint32_t newer, older, zone;
};

#define NONE 0 /* line 0 is not used */

uint64_t reuse_misses[CAPACITIES];
static struct line *lines;
static uint32_t *table; /* open addressing by address: numbers of lines */
static size_t used = 1, room, table_size;
static uint32_t newest, last[CAPACITIES];
static size_t held[CAPACITIES];

static size_t slot_of(uint64_t address) {
  size_t slot = (size_t)(address * 0x9e3779b97f4a7c15u >> 20) & (table_size - 1);
  while (table[slot] && lines[table[slot]].address != address) slot = (slot + 1) & (table_size - 1);
  return slot;
}

static void *resized(void *memory, size_t bytes) {
  void *larger = realloc(memory, bytes);
  if (!larger) abort();
  return larger;
}

static void make_room(void) {
  room = room ? 2 * room : 1 << 16;
  lines = resized(lines, room * sizeof *lines);
  table_size = 2 * room;
  table = resized(table, table_size * sizeof *table);
  memset(table, 0, table_size * sizeof *table);
  for (uint32_t number = 1; number < used; number++) table[slot_of(lines[number].address)] = number;
}

static void take_out(uint32_t number) {
  struct line *line = &lines[number];
  lines[line->newer].older = line->older;
  lines[line->older].newer = line->newer;
  for (uint32_t i = line->zone; i < CAPACITIES; i++) {
    if (last[i] == number) last[i] = line->newer;
  }
}

static void put_first(uint32_t number) {
  lines[number].older = newest;
  lines[number].newer = NONE;
  lines[number].zone = 0;
  lines[newest].newer = number;
  newest = number;
}

void reuse_touch(uint64_t address) {
  address >>= LINE_SHIFT;
  if (newest && lines[newest].address == address) return;
  if (used + 1 >= room) make_room();
  size_t slot = slot_of(address);
  uint32_t number = table[slot], zone = CAPACITIES;
  if (number) {
    zone = lines[number].zone;
    take_out(number);
  } else {
    number = table[slot] = (uint32_t)used++;
    lines[number].address = address;
  }
  put_first(number);
  /* Each capacity that did not hold the line takes it and, when full, hands its last one to the next. */
  for (uint32_t i = 0; i < zone && i < CAPACITIES; i++) {
    reuse_misses[i]++;
    if (held[i] < (size_t)FIRST_CAPACITY << i) {
      held[i]++;
      if (!last[i]) last[i] = number;
    } else {
      lines[last[i]].zone = i + 1;
      last[i] = lines[last[i]].newer;
    }
  }
}
