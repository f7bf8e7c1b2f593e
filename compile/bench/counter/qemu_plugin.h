/* The few declarations of QEMU's plugin interface that the counter uses.
 *
 * QEMU looks up `qemu_plugin_version` and calls `qemu_plugin_install`; everything else here it provides. The interface
 * changed once in what is used: since version 3 the words of an instruction are copied out instead of pointed to.
 * PLUGIN_INTERFACE is given to the compiler: 1 for QEMU up to 8.2, 2 for 9.0, 3 for everything newer.
 */
#ifndef RG_QEMU_PLUGIN_H
#define RG_QEMU_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void on_translate_t(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void on_execute_t(unsigned int cpu, void *data);
typedef void on_syscall_t(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t,
                          uint64_t, uint64_t, uint64_t, uint64_t);

typedef uint32_t qemu_plugin_meminfo_t;
typedef void on_access_t(unsigned int cpu, qemu_plugin_meminfo_t what, uint64_t address, void *data);

void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *instruction, on_access_t *callback, int registers,
                                      int loads_and_stores, void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, on_translate_t *callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, on_execute_t *callback, int registers, void *data);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, on_syscall_t *callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);

#if PLUGIN_INTERFACE < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction, void *words, size_t size);
#endif

#endif
