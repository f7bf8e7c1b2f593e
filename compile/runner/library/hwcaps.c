#include "library/hwcaps.h"

#if defined(__aarch64__) && !defined(__APPLE__)

enum { AUXILIARY_HWCAP = 16, AUXILIARY_HWCAP2 = 26 }; /* AT_HWCAP, AT_HWCAP2 of <elf.h> */
#define HWCAP_FPHP (1ul << 9)
#define HWCAP_ASIMDHP (1ul << 10)
#define HWCAP_ASIMDRDM (1ul << 12)
#define HWCAP_ASIMDDP (1ul << 20)
#define HWCAP2_I8MM (1ul << 13)

/* Weak: model.so needs no library. Whoever loads it brings a C library, and where none is there the plain code runs. */
extern unsigned long getauxval(unsigned long type) __attribute__((weak));

uint32_t rg_cpu_features(void) {
  uint32_t features = 0;
  if (!getauxval) return 0;
  unsigned long hwcap = getauxval(AUXILIARY_HWCAP);
  if (hwcap & HWCAP_ASIMDRDM) features |= RG_CPU_RDM;
  if (hwcap & HWCAP_ASIMDDP) features |= RG_CPU_DOTPROD;
  if ((hwcap & HWCAP_FPHP) && (hwcap & HWCAP_ASIMDHP)) features |= RG_CPU_FULLFP16;
  if (getauxval(AUXILIARY_HWCAP2) & HWCAP2_I8MM) features |= RG_CPU_I8MM;
  return features;
}

#elif defined(__arm__)

enum { AUXILIARY_HWCAP = 16 }; /* AT_HWCAP of <elf.h> */
#define HWCAP_NEON (1ul << 12)

/* Weak, as above. Without a C library nobody says that there is NEON, and it is not used. */
extern unsigned long getauxval(unsigned long type) __attribute__((weak));

uint32_t rg_cpu_features(void) {
  return getauxval && getauxval(AUXILIARY_HWCAP) & HWCAP_NEON ? RG_CPU_NEON : 0;
}

#elif defined(__riscv)

enum { AUXILIARY_HWCAP = 16 }; /* AT_HWCAP of <elf.h>: a bit for each letter */
#define HWCAP_RVV (1ul << 21)

extern unsigned long getauxval(unsigned long type) __attribute__((weak));

uint32_t rg_cpu_features(void) { return getauxval && getauxval(AUXILIARY_HWCAP) & HWCAP_RVV ? RG_CPU_RVV : 0; }

#elif defined(__x86_64__)

struct registers { uint32_t a, b, c, d; };

static struct registers cpuid_part(uint32_t leaf, uint32_t part) {
  struct registers r;
  __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(part));
  return r;
}

static struct registers cpuid(uint32_t leaf) { return cpuid_part(leaf, 0); }

/* Which register files the kernel saves on a context switch: a core may have AVX while its kernel does not allow it. */
static uint64_t saved_state(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static int has(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

#define BIT(n) (1u << (n))
#define LEAF1_C (BIT(0) | BIT(9) | BIT(12) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(27) | BIT(28) | BIT(29))
                /* SSE3 SSSE3 FMA CX16 SSE4.1 SSE4.2 MOVBE POPCNT OSXSAVE AVX F16C */
#define LEAF7_B (BIT(3) | BIT(5) | BIT(8))                                   /* BMI1 AVX2 BMI2 */
#define LEAF7_1_A BIT(4)                                                     /* AVX VNNI */
#define LEAF7_B_512 (BIT(16) | BIT(17) | BIT(28) | BIT(30) | BIT(31))        /* AVX512 F DQ CD BW VL */
#define LEAF7_C_512 BIT(11)                                                  /* AVX512 VNNI */
#define EXTENDED_C (BIT(0) | BIT(5))                                         /* LAHF LZCNT */
#define STATE_AVX 0x06u                                                      /* XMM, YMM */
#define STATE_512 0xe6u                                                      /* and the masks, both halves of ZMM */

uint32_t rg_cpu_features(void) {
  if (cpuid(0).a < 7 || cpuid(0x80000000u).a < 0x80000001u) return 0;
  if (!has(cpuid(1).c, LEAF1_C) || !has(cpuid(0x80000001u).c, EXTENDED_C)) return 0;
  uint64_t state = saved_state();
  struct registers leaf7 = cpuid(7);
  if ((state & STATE_AVX) != STATE_AVX || !has(leaf7.b, LEAF7_B)) return 0;
  uint32_t features = RG_CPU_AVX2;
  if (leaf7.a >= 1 && has(cpuid_part(7, 1).a, LEAF7_1_A)) features |= RG_CPU_AVXVNNI;
  if ((state & STATE_512) == STATE_512 && has(leaf7.b, LEAF7_B_512) && has(leaf7.c, LEAF7_C_512))
    features |= RG_CPU_AVX512VNNI;
  return features;
}

#elif defined(__aarch64__)

/* Every Mac with a processor of Apple's own has these; whether it has i8mm, too, is not looked for. */
uint32_t rg_cpu_features(void) { return RG_CPU_RDM | RG_CPU_DOTPROD | RG_CPU_FULLFP16; }

#elif defined(__wasm_relaxed_simd__)

typedef int8_t bytes __attribute__((vector_size(16)));
typedef int32_t words __attribute__((vector_size(16)));

/* What the instruction gives where a byte of its second operand has its top bit is left to the engine: x86-64 with
 * AVX-VNNI takes it as unsigned and limits nothing in between; others take it as signed, or limit sums of pairs. */
uint32_t rg_cpu_features(void) {
  volatile bytes left = {-128, -128, -128, -128, 127, 127, 127, 127, -128, 127, -1, 1, 0, 0, 0, 127};
  volatile bytes right = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -128, -1, 127, -1, -128, 127, -1};
  volatile words start = {1, 2, 3, 4};
  words sums = __builtin_wasm_relaxed_dot_i8x16_i7x16_add_s_i32x4(left, right, start);
  for (int lane = 0; lane < 4; lane++) {
    int32_t sum = start[lane];
    for (int i = 4 * lane; i < 4 * lane + 4; i++) sum += left[i] * (uint8_t)right[i];
    if (sum != sums[lane]) return RG_CPU_RELAXED_MADD;
  }
  return RG_CPU_RELAXED_MADD | RG_CPU_RELAXED_DOT;
}

#else /* a family none of whose variants in compile/targets/table.py requires a feature */

uint32_t rg_cpu_features(void) { return 0; }

#endif
