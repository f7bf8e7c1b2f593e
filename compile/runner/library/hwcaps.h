/* Which instruction sets this core and this kernel offer, as a set of RG_CPU_* bits. */
#ifndef RG_HWCAPS_H
#define RG_HWCAPS_H

#include <stdint.h>

#define RG_CPU_DOTPROD 1u    /* arm64: sdot, udot */
#define RG_CPU_I8MM 2u       /* arm64: smmla */
#define RG_CPU_AVX2 4u       /* x86-64: everything LLVM may use for x86-64-v3 */
#define RG_CPU_AVX512VNNI 8u /* x86-64: everything LLVM may use for x86-64-v4, and vpdpbusd, vpdpwssd */
#define RG_CPU_AVXVNNI 64u   /* x86-64: vpdpbusd, vpdpwssd of 128 and 256 bits */
#define RG_CPU_FULLFP16 16u  /* arm64: half-precision arithmetic, scalar and vector */
#define RG_CPU_NEON 128u     /* 32-bit ARM: what every 64-bit core has */
#define RG_CPU_RVV 256u      /* RISC-V: vectors, version 1.0 */
#define RG_CPU_RELAXED_MADD 512u /* WebAssembly: relaxed SIMD */
#define RG_CPU_RELAXED_DOT 1024u /* WebAssembly: its dot product is that of signed with unsigned bytes */
#define RG_CPU_RDM 32u       /* arm64: sqrdmlah; every core with sdot has it, and is asked for both */

uint32_t rg_cpu_features(void);

#endif
