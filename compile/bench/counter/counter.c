/* A QEMU plugin that tells which blocks of straight code a guest executes, and how often, between the marks it sets.
 *
 * With each mark one JSON object is written to the file named by the argument out=FILE: the executed instructions by
 * class, the executions of every block, and how many lines of memory were not in a cache of each size. The words of a
 * block stand in the first object that has it. The result depends on the guest alone, neither on this machine nor on its
 * load.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "marks.h"
#include "qemu_plugin.h"
#include "reuse.h"

EXPORT int qemu_plugin_version = PLUGIN_INTERFACE;

struct block {
  struct block *next;
  uint64_t number, runs, reported; /* all executions, and those before the last mark */
  size_t count;
  int shown; /* whether its words were written */
  uint32_t words[];
};

#define READ_AND_WRITE 3 /* QEMU_PLUGIN_MEM_RW */

static const char *const class_names[] = {
#define NAME(constant, name) name,
    RG_CLASSES(NAME)};
static struct block *blocks; /* added to at the front; never removed */
static uint64_t block_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *output;

static uint32_t word_of(const struct qemu_plugin_tb *tb, size_t index) {
  uint32_t word = 0;
  struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, index);
#if PLUGIN_INTERFACE < 3
  memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
#else
  qemu_plugin_insn_data(instruction, &word, sizeof word);
#endif
  return word;
}

static void *allocate(size_t size) {
  void *memory = calloc(1, size);
  if (!memory) abort();
  return memory;
}

static void on_execute(unsigned int cpu, void *data) {
  (void)cpu;
  __atomic_fetch_add(&((struct block *)data)->runs, 1, __ATOMIC_RELAXED);
}

/* The first thread's alone: one thread is counted, and others would race. */
static void on_access(unsigned int cpu, qemu_plugin_meminfo_t what, uint64_t address, void *data) {
  (void)what, (void)data;
  if (cpu == 0) reuse_touch(address);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  size_t count = qemu_plugin_tb_n_insns(tb);
  struct block *block = allocate(sizeof *block + count * sizeof block->words[0]);
  block->count = count;
  for (size_t i = 0; i < count; i++) {
    block->words[i] = word_of(tb, i);
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, i), on_access, 0, READ_AND_WRITE, NULL);
  }
  pthread_mutex_lock(&lock);
  block->number = block_count++;
  block->next = blocks;
  blocks = block;
  pthread_mutex_unlock(&lock);
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execute, 0, block);
}

/* Write [number, executions] or, the first time, [number, executions, "words in hexadecimal"]. */
static void write_block(struct block *block, uint64_t runs, const char *separator) {
  fprintf(output, "%s[%" PRIu64 ",%" PRIu64, separator, block->number, runs);
  if (!block->shown) {
    block->shown = 1;
    fputs(",\"", output);
    for (size_t i = 0; i < block->count; i++) fprintf(output, "%08" PRIx32, block->words[i]);
    fputc('"', output);
  }
  fputc(']', output);
}

static void report(uint64_t mark) {
  static uint64_t misses[CAPACITIES];
  uint64_t instructions[CLASSES] = {0};
  const char *separator = "";
  fprintf(output, "{\"mark\":%" PRIu64 ",\"blocks\":[", mark);
  for (struct block *block = blocks; block; block = block->next) {
    uint64_t runs = __atomic_load_n(&block->runs, __ATOMIC_RELAXED), fresh = runs - block->reported;
    block->reported = runs;
    if (!fresh || mark == MARK_START) continue;
    for (size_t i = 0; i < block->count; i++) instructions[classify(block->words[i])] += fresh;
    write_block(block, fresh, separator);
    separator = ",";
  }
  fputs("],\"instructions\":{", output);
  for (int i = 0; i < CLASSES; i++) fprintf(output, "%s\"%s\":%" PRIu64, i ? "," : "", class_names[i], instructions[i]);
  fputs("},\"misses\":{", output);
  for (int i = 0; i < CAPACITIES; i++) {
    uint64_t now = reuse_misses[i], bytes = (uint64_t)FIRST_CAPACITY << i << LINE_SHIFT;
    fprintf(output, "%s\"%" PRIu64 "\":%" PRIu64, i ? "," : "", bytes, now - misses[i]);
    misses[i] = now;
  }
  fputs("}}\n", output);
  fflush(output);
}

static void on_syscall(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t option, uint64_t mark, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)cpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number != MARK_CALL || option != MARK_OPTION) return;
  pthread_mutex_lock(&lock);
  report(mark);
  pthread_mutex_unlock(&lock);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int count, char **arguments) {
  (void)info;
  const char *path = NULL;
  for (int i = 0; i < count; i++) {
    if (!strncmp(arguments[i], "out=", 4)) path = arguments[i] + 4;
  }
  output = path ? fopen(path, "w") : NULL;
  if (!output) {
    fprintf(stderr, "counter: cannot write %s\n", path ? path : "without the argument out=FILE");
    return 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
  qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
  return 0;
}
