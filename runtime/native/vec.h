/* vec.h - one vocabulary of vectors over the compiler's vector extension. VB is the width in bytes; 4 is
 * one number at a time, for machines without vectors. */
#ifndef REGROW_VEC_H
#define REGROW_VEC_H
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#ifndef VB
#define VB 16
#endif
#define VW (VB / 4)
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2) && VB == 16
#include <arm_mve.h>
#define MVE
#endif
#define LANES 16 /* a plan counts in blocks of this many floats, whatever the width */
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
/* Before a plain loop over numbers whose vectors are left to the compiler, which is told that a result that
 * takes an operand's place does so number by number. */
#define LANEWISE _Pragma("clang loop vectorize(assume_safety) interleave(disable)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#define LANEWISE _Pragma("GCC ivdep")
#endif

#if VW == 1
/* No vectors of one: compilers keep those in memory. */
typedef float vf;
typedef float vf_loose __attribute__((may_alias));
#else
typedef float vf __attribute__((vector_size(VB)));
typedef int32_t vi __attribute__((vector_size(VB)));
typedef float vf_loose __attribute__((vector_size(VB), aligned(4), may_alias));
typedef int32_t vi_loose __attribute__((vector_size(VB), aligned(4), may_alias));
#endif

#if VW == 16
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
#define MIX_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define MIX_HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif VW == 8
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define MIX_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define MIX_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif VW == 1
#define EVEN(a, b) (a)
#define ODD(a, b) (b)
#define MIX_LOW(a, b) (a)
#define MIX_HIGH(a, b) (b)
#elif VW == 4
#define EVEN(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define ODD(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7)
#define MIX_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define MIX_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#else
#error "VB is 4, 16, 32 or 64"
#endif

#if VW > 1 && VW < 16 && !defined(MVE)
/* Lanes that are -1 below VW and 0 from there on; a window into it masks the first n. */
static const int32_t LANE_TABLE[2 * VW] = {
#if VW == 8
    -1, -1, -1, -1, -1, -1, -1, -1
#else
    -1, -1, -1, -1
#endif
};
#endif

INLINE vf load(const float *p) { return *(const vf_loose *)p; }
INLINE void store(float *p, vf v) { *(vf_loose *)p = v; }
INLINE vf splat(float s) { return (vf){0} + s; }

/* Truth values of lanes, as the machine has them. */
#if defined(__AVX512F__) && VW == 16
typedef __mmask16 mask;
INLINE mask above(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ); }
INLINE vf pick_lanes(mask m, vf a, vf b) { return (vf)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a); }
INLINE vf only(mask m, vf a) { return (vf)_mm512_maskz_mov_ps(m, (__m512)a); }
INLINE vf except(mask m, vf a) { return only((mask)~m, a); }
INLINE mask lanes(size_t n) { return (mask)(n < VW ? ((1u << n) - 1u) & 0xffffu : 0xffffu); }
#elif defined(MVE)
/* Predicates, not only because they are faster: gcc 12 mixes up comparisons of vectors here. */
typedef mve_pred16_t mask;
INLINE mask above(vf a, vf b) { return vcmpgtq_f32((float32x4_t)a, (float32x4_t)b); }
INLINE vf pick_lanes(mask m, vf a, vf b) { return (vf)vpselq_f32((float32x4_t)a, (float32x4_t)b, m); }
INLINE vf only(mask m, vf a) { return pick_lanes(m, a, (vf){0}); }
INLINE vf except(mask m, vf a) { return pick_lanes(m, (vf){0}, a); }
INLINE mask lanes(size_t n) { return vctp32q((uint32_t)(n < VW ? n : VW)); }
#elif VW == 1
typedef int mask;
INLINE mask above(vf a, vf b) { return a > b; }
INLINE vf pick_lanes(mask m, vf a, vf b) { return m ? a : b; }
INLINE vf only(mask m, vf a) { return m ? a : 0; }
INLINE vf except(mask m, vf a) { return m ? 0 : a; }
INLINE mask lanes(size_t n) { return n != 0; }
#else
typedef vi mask;
INLINE mask above(vf a, vf b) { return (vi)(a > b); }
INLINE vf pick_lanes(mask m, vf a, vf b) { return (vf)((m & (vi)a) | (~m & (vi)b)); }
INLINE vf only(mask m, vf a) { return (vf)(m & (vi)a); }
INLINE vf except(mask m, vf a) { return (vf)(~m & (vi)a); }
INLINE mask lanes(size_t n) { return *(const vi_loose *)(LANE_TABLE + VW - (n < VW ? n : VW)); }
#endif
/* a > b ? a : b, so b where one is no number; a < b ? a : b. */
#if defined(__AVX512F__) && VW == 16
INLINE vf larger(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vf smaller(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
#elif defined(__AVX2__) && VW == 8
INLINE vf larger(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vf smaller(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
#elif defined(__SSE2__) && VW == 4
INLINE vf larger(vf a, vf b) { return (vf)_mm_max_ps((__m128)a, (__m128)b); }
INLINE vf smaller(vf a, vf b) { return (vf)_mm_min_ps((__m128)a, (__m128)b); }
#else
INLINE vf larger(vf a, vf b) { return pick_lanes(above(a, b), a, b); }
INLINE vf smaller(vf a, vf b) { return pick_lanes(above(b, a), a, b); }
#endif
/* The first n lanes, the rest zero; nothing past them is read. */
INLINE vf load_some(const float *p, size_t n)
{
#if defined(__AVX512F__) && VW == 16
    return (vf)_mm512_maskz_loadu_ps(lanes(n), p);
#elif defined(__AVX2__) && VW == 8
    return n >= VW ? load(p) : (vf)_mm256_maskload_ps(p, (__m256i)lanes(n));
#elif defined(MVE)
    return (vf)vldrwq_z_f32(p, lanes(n));
#elif VW == 1
    return n ? *p : 0;
#else
    float t[VW] = {0};
    if (n >= VW) return load(p);
    for (size_t i = 0; i < n; i++) t[i] = p[i];
    return load(t);
#endif
}

/* Nothing past the first n lanes is written. */
INLINE void store_some(float *p, vf v, size_t n)
{
#if defined(__AVX512F__) && VW == 16
    _mm512_mask_storeu_ps(p, lanes(n), (__m512)v);
#elif defined(__AVX2__) && VW == 8
    if (n >= VW) store(p, v);
    else _mm256_maskstore_ps(p, (__m256i)lanes(n), (__m256)v);
#elif defined(MVE)
    vstrwq_p_f32(p, (float32x4_t)v, lanes(n));
#elif VW == 1
    if (n) *p = v;
#else
    float t[VW];
    if (n >= VW) {
        store(p, v);
        return;
    }
    store(t, v);
    for (size_t i = 0; i < n; i++) p[i] = t[i];
#endif
}

INLINE float sum_lanes(vf v)
{
#if VW == 1
    return v;
#else
    float t[VW], s = 0;
    store(t, v);
    UNROLL for (int i = 0; i < VW; i += 4) s += (t[i] + t[i + 1]) + (t[i + 2] + t[i + 3]);
    return s;
#endif
}

/* Eight vectors to their eight sums. */
INLINE void sum_eight(const vf *a, float *out)
{
#if VW == 1
    UNROLL for (int i = 0; i < 8; i++) out[i] = a[i];
#else
    vf b0 = EVEN(a[0], a[1]) + ODD(a[0], a[1]), b1 = EVEN(a[2], a[3]) + ODD(a[2], a[3]);
    vf b2 = EVEN(a[4], a[5]) + ODD(a[4], a[5]), b3 = EVEN(a[6], a[7]) + ODD(a[6], a[7]);
    vf c0 = EVEN(b0, b1) + ODD(b0, b1), c1 = EVEN(b2, b3) + ODD(b2, b3);
#if VW == 4
    store(out, c0);
    store(out + 4, c1);
#else
    float t[VW];
    vf d = EVEN(c0, c1) + ODD(c0, c1);
#if VW == 16
    d = EVEN(d, d) + ODD(d, d);
#endif
    store(t, d);
    memcpy(out, t, 8 * sizeof(float));
#endif
#endif
}

/* Vectors of as many lanes as there are of them: lanes to vectors, vectors to lanes. */
INLINE void transpose(vf *a)
{
    enum { ROUNDS = VW == 16 ? 4 : VW == 8 ? 3 : VW == 4 ? 2 : 0 };
    UNROLL for (int round = 0; round < ROUNDS; round++) {
        vf b[VW];
        UNROLL for (int i = 0; i < VW / 2; i++) {
            b[2 * i] = MIX_LOW(a[i], a[i + VW / 2]);
            b[2 * i + 1] = MIX_HIGH(a[i], a[i + VW / 2]);
        }
        UNROLL for (int i = 0; i < VW; i++) a[i] = b[i];
    }
}
#endif
