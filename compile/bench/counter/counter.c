/* A QEMU plugin that counts the arm64 instructions a guest executes, by class, between the marks the guest sets.
 *
 * Every block of straight code is priced once, when QEMU translates it, and counted whenever it runs. The result depends
 * on the guest alone, neither on this machine nor on its load. With each mark one JSON object is written to the file
 * named by the argument out=FILE.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cores.h"
#include "marks.h"
#include "qemu_plugin.h"

EXPORT int qemu_plugin_version = PLUGIN_INTERFACE;

struct block {
  struct block *next;
  struct price price;
  uint64_t runs, reported; /* all executions, and those before the last mark */
};

static const char *const class_names[] = {
#define NAME(constant, name) name,
    RG_CLASSES(NAME)};
static const char *const core_names[] = {RG_CORES(NAME)};
static struct block *blocks; /* added to at the front; never removed */
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

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  size_t count = qemu_plugin_tb_n_insns(tb);
  uint32_t *words = allocate(count * sizeof *words);
  struct block *block = allocate(sizeof *block);
  for (size_t i = 0; i < count; i++) words[i] = word_of(tb, i);
  block->price = price_block(words, count);
  free(words);
  pthread_mutex_lock(&lock);
  block->next = blocks;
  blocks = block;
  pthread_mutex_unlock(&lock);
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execute, 0, block);
}

static void report(uint64_t mark) {
  uint64_t instructions[CLASSES] = {0};
  double cycles[CORES] = {0};
  for (struct block *block = blocks; block; block = block->next) {
    uint64_t runs = __atomic_load_n(&block->runs, __ATOMIC_RELAXED), fresh = runs - block->reported;
    block->reported = runs;
    for (int i = 0; i < CLASSES; i++) instructions[i] += fresh * block->price.instructions[i];
    for (int i = 0; i < CORES; i++) cycles[i] += (double)fresh * block->price.cycles[i];
  }
  fprintf(output, "{\"mark\":%" PRIu64 ",\"instructions\":{", mark);
  for (int i = 0; i < CLASSES; i++) fprintf(output, "%s\"%s\":%" PRIu64, i ? "," : "", class_names[i], instructions[i]);
  fprintf(output, "},\"cycles\":{");
  for (int i = 0; i < CORES; i++) fprintf(output, "%s\"%s\":%.1f", i ? "," : "", core_names[i], cycles[i]);
  fprintf(output, "}}\n");
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
