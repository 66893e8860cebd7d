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

#define TEN(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9)
#define DEFINE(k) vf s##k = a;
#define HIDE(k) __asm__ volatile("" : "+x"(s##k));
#define STEP(k) s##k = s##k * a + b;
#define LOAD(k) s##k += a * *(const vf_loose *)(p + k * LANES);

/* GFLOP/s of ten independent chains. */
double peak_fma(void)
{
    vf a = (vf){0} + 0.999f, b = (vf){0} + 1e-3f;
    TEN(DEFINE)
    double began = now();
    for (int i = 0; i < 2000000; i++) {
        TEN(STEP)
        TEN(HIDE)
    }
    return 2.0 * 10 * LANES * 2000000 / (now() - began) * 1e-9;
}

/* GFLOP/s of multiply-adds that each read a vector from one float past a cache line of the first cache. */
double peak_loads(const float *buffer)
{
    vf a = (vf){0} + 0.5f;
    TEN(DEFINE)
    double began = now();
    for (int i = 0; i < 500000; i++) {
        const float *p = buffer + 1 + (i & 7) * 10 * LANES;
        TEN(LOAD)
        TEN(HIDE)
    }
    return 2.0 * 10 * LANES * 500000 / (now() - began) * 1e-9;
}
