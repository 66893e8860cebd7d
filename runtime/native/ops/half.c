/* half.c - values kept as IEEE fp16 while nobody reads them. A run of them shares a scale, a power of two that takes its
 * largest to [2^14, 2^15): nothing overflows, and a gradient of 1e-8 has the digits that one of 1 has. What is below
 * 2^-14 then is zero, so that no half is subnormal, which some processors drop and others do not; rounding is to
 * nearest, ties to even. An error is thus at most 2^-11 of the value itself, or 2^-28 of the largest of the run. */

typedef uint16_t half;

#define HALF_LEAST 0x1.fffffep-15f /* the float below 2^-14 */

/* The scale of a run whose largest magnitude is this, and what is multiplied to divide by it. */
static float half_scale(float largest, float *inverse)
{
    union { float number; uint32_t word; } u = {largest}, s, i;
    uint32_t exponent = u.word >> 23 & 0xffu, scale = exponent < 15 ? 1 : exponent - 14;
    s.word = scale << 23;
    i.word = (254 - scale) << 23;
    *inverse = i.number;
    return s.number;
}

INLINE half half_of(float v)
{
    union { float number; uint32_t word; } u = {v};
    uint32_t bits = u.word & 0x7fffffffu;
    if (!(fabsf(v) > HALF_LEAST)) bits = 112u << 23;
    bits = ((bits + 0xfffu + (bits >> 13 & 1u)) >> 13) - (112u << 10);
    return (half)(bits | (u.word >> 16 & 0x8000u));
}

INLINE float half_wide(half h)
{
    union { uint32_t word; float number; } u = {(h & 0x7fffu) ? ((uint32_t)(h & 0x7fffu) << 13) + (112u << 23) : 0};
    u.word |= (uint32_t)(h & 0x8000u) << 16;
    return u.number;
}

/* A whole vector of either. */
#if VW == 1
INLINE vf halves_load(const half *p) { return half_wide(*p); }
INLINE void halves_store(half *p, vf v) { *p = half_of(v); }
#elif defined(__AVX512F__) && VW == 16
INLINE vf halves_load(const half *p) { return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)(const void *)p)); }
INLINE void halves_store(half *p, vf v)
{
    vf keep = only((mask)(above(v, splat(HALF_LEAST)) | above(splat(-HALF_LEAST), v)), v);
    _mm256_storeu_si256((__m256i_u *)(void *)p, _mm512_cvtps_ph((__m512)keep, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif defined(__F16C__) && VW == 8
INLINE vf halves_load(const half *p) { return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)(const void *)p)); }
INLINE void halves_store(half *p, vf v)
{
    vf keep = only(above(v, splat(HALF_LEAST)) | above(splat(-HALF_LEAST), v), v);
    _mm_storeu_si128((__m128i_u *)(void *)p, _mm256_cvtps_ph((__m256)keep, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__aarch64__) && VW == 4
INLINE vf halves_load(const half *p) { return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
INLINE void halves_store(half *p, vf v)
{
    vf keep = only(above(v, splat(HALF_LEAST)) | above(splat(-HALF_LEAST), v), v);
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)keep)));
}
#else
#if defined(MVE)
INLINE vi halves_bits(const half *p) { return (vi)vldrhq_u32(p); }
INLINE void halves_put(half *p, vi bits) { vstrhq_u32(p, (uint32x4_t)bits); }
#else
typedef half vh __attribute__((vector_size(2 * VW)));
typedef half vh_loose __attribute__((vector_size(2 * VW), aligned(2), may_alias));
INLINE vi halves_bits(const half *p) { return __builtin_convertvector((vh)*(const vh_loose *)p, vi); }
INLINE void halves_put(half *p, vi bits) { *(vh_loose *)p = __builtin_convertvector(bits, vh); }
#endif
INLINE vf halves_load(const half *p)
{
    vi bits = halves_bits(p), rest = bits & 0x7fff;
    vf wide = (vf)((rest << 13) + (112 << 23));
    /* Without a half that is subnormal, none but zero widens to less than 2^-14. */
    return (vf)((vi)only(above(wide, splat(HALF_LEAST)), wide) | ((bits & 0x8000) << 16));
}
INLINE void halves_store(half *p, vf v)
{
    vi whole = (vi)v, bits = whole & 0x7fffffff;
    bits = (vi)pick_lanes(above((vf)bits, splat(HALF_LEAST)), (vf)bits, splat(0x1p-15f));
    bits = ((bits + 0xfff + ((bits >> 13) & 1)) >> 13) - (112 << 10);
    halves_put(p, bits | ((whole >> 16) & 0x8000));
}
#endif

/* Vectors of a run, the last of them as far back as it has to begin to end with the run. */
#define EACH_VECTOR(i, count) for (size_t i = 0, next_ = 0; next_ < (count) && (i = next_ + VW > (count) ? (count) - VW : next_, 1); next_ += VW)

/* A run to halves; returns their scale. What holds no number or an infinite one has none, and none comes back. */
static float run_shorten(const float *x, half *y, size_t count)
{
    float largest = 0, sound = 0, inverse, scale;
    size_t few = count < VW ? count : 0;
    if (!few) {
        float each[VW];
        vf most = {0}, nought = {0};
        EACH_VECTOR(i, count) {
            vf v = load(x + i);
            most = larger(larger(v, -v), most);
            nought += v * 0.0f;
        }
        store(each, most);
        for (size_t i = 0; i < VW; i++) largest = each[i] > largest ? each[i] : largest;
        sound = sum_lanes(nought);
    }
    for (size_t i = 0; i < few; i++) {
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        sound += x[i] * 0.0f;
    }
    if (!(sound == 0.0f)) {
        memset(y, 0, count * sizeof *y);
        return sound;
    }
    scale = half_scale(largest, &inverse);
    if (!few) EACH_VECTOR(i, count) halves_store(y + i, load(x + i) * inverse);
    for (size_t i = 0; i < few; i++) y[i] = half_of(x[i] * inverse);
    return scale;
}

static void run_widen(const half *x, float scale, float *y, size_t count)
{
    size_t few = count < VW ? count : 0;
    if (!few) EACH_VECTOR(i, count) store(y + i, halves_load(x + i) * scale);
    for (size_t i = 0; i < few; i++) y[i] = half_wide(x[i]) * scale;
}

/* Floats that hold so many runs: a scale each, and then the halves. */
static uint64_t halves_floats(uint64_t runs, uint64_t run)
{
    uint64_t count = times(runs, run);
    return plus(runs, count / 2 + count % 2);
}

typedef struct {
    float *scale;
    half *data;
    size_t channels, samples, run;       /* a run is one sample of one channel, pads included */
    float *scratch;                      /* planes of a few samples, wide */
    size_t tile, planes, front, channel; /* its samples, planes, floats before the first, stride of one */
} halves;

enum { HALVES_WORDS = 9 };

/* halves, scratch, channels, samples, floats of a run, then of the scratch: samples, planes, front, channel stride. */
static regrow_status halves_prepare(const machine *m, const uint32_t *w, uint32_t n, halves *h)
{
    WORDS(HALVES_WORDS);
    uint64_t runs = times(w[2], w[3]), total = plus(plus(w[7], times(w[6], w[8])), w[7]);
    TAKE(float, scale, w[0], halves_floats(runs, w[4]));
    TAKE(float, scratch, w[1], total);
    if (!w[2] || !w[3] || !w[4] || !w[5] || !w[6] || w[5] > w[3] || w[6] > w[2] || times(w[5], w[4]) > w[8]) return REGROW_E_WORDS;
    halves made = {scale, (half *)(void *)(scale + runs), w[2], w[3], w[4], scratch + w[7], w[5], w[6], w[7], w[8]};
    *h = made;
    zero(scratch, (size_t)total);
    return REGROW_OK;
}

/* Channels from c on of `samples` samples from s on to the scratch; what lies around them there is zero. */
static void halves_widen(const halves *h, size_t c, size_t channels, size_t s, size_t samples)
{
    for (size_t i = 0; i < channels; i++) {
        float *plane = h->scratch + i * h->channel;
        for (size_t k = 0; k < samples; k++) {
            size_t at_run = (c + i) * h->samples + s + k;
            run_widen(h->data + at_run * h->run, h->scale[at_run], plane + k * h->run, h->run);
        }
        if (samples < h->tile) zero(plane + samples * h->run, (h->tile - samples) * h->run);
    }
}

/* The same the other way. */
static void halves_shorten(const halves *h, size_t c, size_t channels, size_t s, size_t samples)
{
    for (size_t i = 0; i < channels; i++)
        for (size_t k = 0; k < samples; k++) {
            size_t at_run = (c + i) * h->samples + s + k;
            h->scale[at_run] = run_shorten(h->scratch + i * h->channel + k * h->run, h->data + at_run * h->run, h->run);
        }
}

/* Runs in a value that is wide: of so many channels, `channel` floats apart, so many each, one behind the other. */
typedef struct {
    float *scale, *wide;
    half *data;
    size_t first, channels, channel, runs, run, total;
} waiting;

/* halves, wide, first float, channels, their stride, runs of each, floats of a run, floats of the wide value. */
static regrow_status waiting_prepare(const machine *m, const uint32_t *w, uint32_t n, waiting *job)
{
    WORDS(8);
    uint64_t runs = times(w[3], w[5]);
    TAKE(float, scale, w[0], halves_floats(runs, w[6]));
    TAKE(float, wide, w[1], w[7]);
    if (!w[3] || !w[5] || !w[6] || times(w[5], w[6]) > w[4] || plus(w[2], plus(times(w[3] - 1, w[4]), times(w[5], w[6]))) > w[7])
        return REGROW_E_WORDS;
    waiting made = {scale, wide, (half *)(void *)(scale + runs), w[2], w[3], w[4], w[5], w[6], w[7]};
    *job = made;
    return REGROW_OK;
}

/* As waiting_prepare says; what lies between the channels is not looked at. */
static regrow_status op_shorten(const machine *m, const uint32_t *w, uint32_t n)
{
    waiting j;
    regrow_status status = waiting_prepare(m, w, n, &j);
    for (size_t c = 0; status == REGROW_OK && c < j.channels; c++)
        for (size_t r = 0; r < j.runs; r++, j.data += j.run)
            *j.scale++ = run_shorten(j.wide + j.first + c * j.channel + r * j.run, j.data, j.run);
    return status;
}

/* wide, halves, and the rest as waiting_prepare says; what lies between the channels becomes zero. */
static regrow_status op_widen(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(8);
    waiting j;
    uint32_t turned[8] = {w[1], w[0], w[2], w[3], w[4], w[5], w[6], w[7]};
    regrow_status status = waiting_prepare(m, turned, 8, &j);
    if (status != REGROW_OK) return status;
    zero(j.wide, j.total);
    for (size_t c = 0; c < j.channels; c++)
        for (size_t r = 0; r < j.runs; r++, j.data += j.run)
            run_widen(j.data, *j.scale++, j.wide + j.first + c * j.channel + r * j.run, j.run);
    return REGROW_OK;
}

/* Any half, also one that is subnormal or no number. */
INLINE float half_exact(half h)
{
    union { uint32_t word; float number; } u = {(uint32_t)(h & 0x7fffu) << 13};
    uint32_t exponent = h >> 10 & 31u;
    if (!exponent) u.number = (float)(h & 0x3ffu) * 0x1p-24f;
    else u.word += (exponent == 31 ? 224u : 112u) << 23;
    u.word |= (uint32_t)(h & 0x8000u) << 16;
    return u.number;
}

static void stored_halves(const half *x, float *y, size_t count)
{
    size_t i = 0;
#if (defined(__AVX512F__) && VW == 16) || (defined(__F16C__) && VW == 8) || (defined(__aarch64__) && VW == 4)
    for (; i + VW <= count; i += VW) store(y + i, halves_load(x + i));
#endif
    for (; i < count; i++) y[i] = half_exact(x[i]);
}

static void stored_levels(const int8_t *x, float scale, float *y, size_t count)
{
    size_t i = 0;
#if VW > 1 && !defined(MVE)
    typedef int8_t vb __attribute__((vector_size(VW)));
    for (; i + VW <= count; i += VW) {
        vb some;
        memcpy(&some, x + i, sizeof some);
        store(y + i, __builtin_convertvector(some, vf) * scale);
    }
#endif
    for (; i < count; i++) y[i] = (float)x[i] * scale;
}

/* Rows of a whole weight as a bundle stores it. */
typedef struct {
    const int8_t *levels; /* or NULL, and then halves */
    const half *halves;
    const float *scale;
    float *to; /* where some are floats */
    size_t row;
} narrow_rows;

enum { NARROW_WORDS = 6 };

/* values, a scale per row (or none), rows, values of a row, whether they are int8 or fp16, and where `some` of them
 * become floats. */
static regrow_status narrow_prepare(const machine *m, const uint32_t *w, uint32_t n, uint64_t some, narrow_rows *job)
{
    WORDS(NARROW_WORDS);
    uint64_t count = times(w[2], w[3]);
    TAKE_MAYBE(const float, scale, w[1], w[2]);
    TAKE(float, to, w[5], times(some, w[3]));
    const void *values = at(m, w[0], count, w[4] ? 1 : sizeof(half));
    if (!values) return REGROW_E_BOUNDS;
    if (!w[3] || (w[4] && !scale)) return REGROW_E_WORDS;
    narrow_rows made = {w[4] ? (const int8_t *)values : NULL, w[4] ? NULL : (const half *)values, scale, to, w[3]};
    *job = made;
    return REGROW_OK;
}

static void narrow_widen(const narrow_rows *job, size_t first, size_t count)
{
    if (!job->levels) {
        stored_halves(job->halves + first * job->row, job->to, count * job->row);
        return;
    }
    for (size_t r = 0; r < count; r++) stored_levels(job->levels + (first + r) * job->row, job->scale[first + r], job->to + r * job->row, job->row);
}

/* y, values, a scale per row (or none), where each row ends (or none: all are as long), rows, values, whether they are
 * int8 or fp16.  A weight as a bundle stores it, to floats. */
static regrow_status op_stored(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(7);
    uint64_t rows = w[4], count = w[5];
    TAKE(float, y, w[0], count);
    TAKE_MAYBE(const float, scale, w[2], rows);
    TAKE_MAYBE(const uint32_t, ends, w[3], rows + 1);
    const void *values = at(m, w[1], count, w[6] ? 1 : sizeof(half));
    if (!values) return REGROW_E_BOUNDS;
    if (!rows || (!ends && count % rows) || (w[6] && !scale)) return REGROW_E_WORDS;
    if (ends && (ends[0] != 0 || ends[rows] != count || !apart(m, w[0], w[3]))) return REGROW_E_INDEX;
    for (size_t r = 0; ends && r < rows; r++)
        if (ends[r] > ends[r + 1]) return REGROW_E_INDEX;
    if (!w[6]) {
        stored_halves((const half *)values, y, (size_t)count);
        return REGROW_OK;
    }
    for (size_t r = 0; r < rows; r++) {
        size_t from = ends ? ends[r] : r * (size_t)(count / rows), to = ends ? ends[r + 1] : from + (size_t)(count / rows);
        stored_levels((const int8_t *)values + from, scale[r], y + from, to - from);
    }
    return REGROW_OK;
}
