/* peak.c - what this core can do at most at one vector width: fused multiply-adds, and loads that cross cache lines. */
#include <stdint.h>
#include <time.h>

typedef float vf __attribute__((vector_size(VB)));
typedef float vf_loose __attribute__((vector_size(VB), aligned(4), may_alias));
#define LANES (VB / 4)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* GFLOP/s of ten independent chains. */
double peak_fma(void)
{
    vf s[10], a, b;
    for (int i = 0; i < LANES; i++) a[i] = 0.999f, b[i] = 1e-3f;
    for (int k = 0; k < 10; k++) s[k] = b;
    double began = now();
    for (int i = 0; i < 2000000; i++) {
        __asm__ volatile("" : "+x"(s[0]), "+x"(s[1]), "+x"(s[2]), "+x"(s[3]), "+x"(s[4]), "+x"(s[5]), "+x"(s[6]), "+x"(s[7]), "+x"(s[8]), "+x"(s[9]));
#pragma GCC unroll 10
        for (int k = 0; k < 10; k++) s[k] = s[k] * a + b;
    }
    double spent = now() - began;
    __asm__ volatile("" : : "x"(s[0]), "x"(s[1]), "x"(s[2]), "x"(s[3]), "x"(s[4]), "x"(s[5]), "x"(s[6]), "x"(s[7]), "x"(s[8]), "x"(s[9]));
    return 2.0 * 10 * LANES * 2000000 / spent * 1e-9;
}

/* GFLOP/s of multiply-adds that each read a vector from one float past a cache line of the first cache. */
double peak_loads(float *buffer)
{
    vf s[8], a;
    for (int i = 0; i < LANES; i++) a[i] = 0.5f;
    for (int k = 0; k < 8; k++) s[k] = a;
    double began = now();
    for (int i = 0; i < 500000; i++) {
        const float *p = buffer + 1 + (i & 7) * 8 * LANES;
        __asm__ volatile("" : "+r"(p) : : "memory");
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) s[k] += a * *(const vf_loose *)(p + k * LANES);
    }
    double spent = now() - began;
    __asm__ volatile("" : : "x"(s[0]), "x"(s[1]), "x"(s[2]), "x"(s[3]), "x"(s[4]), "x"(s[5]), "x"(s[6]), "x"(s[7]));
    return 2.0 * 8 * LANES * 500000 / spent * 1e-9;
}
