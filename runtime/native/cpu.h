/* cpu.h - what an x86-64 processor can do and its operating system saves. Private to the core.
 *
 * Not __builtin_cpu_supports: the runtime library that zig links answers no to every question. */
#ifndef REGROW_CPU_H
#define REGROW_CPU_H
#include <cpuid.h>
#include <stdint.h>

/* Bits of cpuid, by leaf and register. */
#define CPU_1_ECX (1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29) /* FMA, MOVBE, OSXSAVE, AVX, F16C */
#define CPU_7_EBX_V3 (1u << 3 | 1u << 5 | 1u << 8)                       /* BMI1, AVX2, BMI2 */
#define CPU_7_EBX_V4 (1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31) /* AVX-512 F, DQ, CD, BW, VL */
#define CPU_EXTENDED_ECX (1u << 5)                                       /* LZCNT */
/* Bits of XCR0: halves of the wide registers, and the masks. */
#define CPU_SAVES_V3 0x06u
#define CPU_SAVES_V4 0xe6u

/* 2 for x86-64-v4, 1 for x86-64-v3, else 0: what the three cores are compiled for. */
static inline uint32_t cpu_level(void)
{
    uint32_t a, b, c, d, seven, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & CPU_1_ECX) != CPU_1_ECX) return 0;
    if (!__get_cpuid(0x80000001u, &a, &b, &c, &d) || (c & CPU_EXTENDED_ECX) != CPU_EXTENDED_ECX) return 0;
    if (!__get_cpuid_count(7, 0, &a, &seven, &c, &d) || (seven & CPU_7_EBX_V3) != CPU_7_EBX_V3) return 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & CPU_SAVES_V3) != CPU_SAVES_V3) return 0;
    return (seven & CPU_7_EBX_V4) == CPU_7_EBX_V4 && (saved & CPU_SAVES_V4) == CPU_SAVES_V4 ? 2 : 1;
}
#endif
