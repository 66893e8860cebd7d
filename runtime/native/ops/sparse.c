/* sparse.c - the same sums over kept weights only: per row a list of offsets into x, or of numbers of a table of offsets. */

#define SPARSE_T 8 /* vectors of a row in registers */

typedef struct {
    const void *index;    /* offsets (int32), or numbers (uint16) of the table's */
    const uint32_t *ends; /* rows + 1 of them: where the list of each row begins */
    const int32_t *table; /* or NULL */
} list;

INLINE int32_t offset_at(const list *l, size_t j)
{
    return l->table ? l->table[((const uint16_t *)l->index)[j]] : ((const int32_t *)l->index)[j];
}

/* Lists that end where they should, offsets inside x: what a plan says of them is not taken on trust. */
static int list_holds(const list *l, uint64_t rows, uint64_t positions, uint64_t kept, uint64_t front, uint64_t *high)
{
    const int32_t *offset = l->table ? l->table : (const int32_t *)l->index;
    uint64_t count = l->table ? positions : kept;
    int32_t low = 0, most = 0;
    uint16_t top = 0;
    LANEWISE for (size_t i = 0; i < count; i++) {
        low = offset[i] < low ? offset[i] : low;
        most = offset[i] > most ? offset[i] : most;
    }
    if ((uint64_t)-(int64_t)low > front || l->ends[0] != 0 || l->ends[rows] != kept) return 0;
    for (size_t r = 0; r < rows; r++)
        if (l->ends[r] > l->ends[r + 1]) return 0;
    for (size_t j = 0; l->table && j < kept; j++) top = ((const uint16_t *)l->index)[j] > top ? ((const uint16_t *)l->index)[j] : top;
    *high = (uint64_t)most;
    return kept == 0 || !l->table || top < positions;
}

/* The list that `words` words are about: index, ends, positions in the table that follows at `table`, or none. */
static regrow_status list_read(const machine *m, const uint32_t *w, uint64_t rows, uint64_t kept, uint32_t positions, const uint32_t *table, list *l)
{
    TAKE(const uint32_t, ends, w[1], rows + 1);
    const void *index = at(m, w[0], kept, positions ? sizeof(uint16_t) : sizeof(int32_t));
    if (!index) return REGROW_E_BOUNDS;
    list made = {index, ends, positions ? (const int32_t *)table : NULL};
    *l = made;
    return REGROW_OK;
}

/* Index and ends, which two words name, share nothing with what is written. */
static int list_apart(const machine *m, const uint32_t *list_words, const uint32_t *written, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!apart(m, list_words[0], written[i]) || !apart(m, list_words[1], written[i])) return 0;
    return 1;
}

#define SUM_RUN(T, OFFSET)                                                                                        \
    for (size_t j = from; j < to; j++) {                                                                          \
        const float *xj = x + (OFFSET);                                                                           \
        float u = value[j];                                                                                       \
        UNROLL for (int t = 0; t < (T); t++) s[t] += u * load(xj + t * VW);                                       \
    }
#define RUN(T)                                                                                                    \
    static void run_##T(const list *l, const float *x, const float *value, size_t from, size_t to, float first,   \
                        float *y)                                                                                 \
    {                                                                                                             \
        vf s[T];                                                                                                  \
        UNROLL for (int t = 0; t < (T); t++) s[t] = (vf){0} + first;                                              \
        if (l->table) { SUM_RUN(T, l->table[((const uint16_t *)l->index)[j]]) }                                   \
        else { SUM_RUN(T, ((const int32_t *)l->index)[j]) }                                                       \
        UNROLL for (int t = 0; t < (T); t++) store(y + t * VW, s[t]);                                             \
    }
RUN(1)
RUN(2)
RUN(4)
RUN(8)
#if VW > 1
RUN(3)
RUN(5)
RUN(6)
RUN(7)
#endif
#undef RUN
#undef SUM_RUN

typedef void (*run_function)(const list *l, const float *x, const float *value, size_t from, size_t to, float first, float *y);
#if VW > 1
static const run_function RUNS[SPARSE_T] = {run_1, run_2, run_3, run_4, run_5, run_6, run_7, run_8};
#else
static const run_function RUNS[SPARSE_T] = {run_1, run_2, NULL, run_4, NULL, NULL, NULL, run_8};
#endif

/* How many vectors the next tile takes, so that the last ones are not left with a thin one. */
INLINE size_t sparse_tile(size_t left)
{
#if VW == 1
    return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
#else
    return left <= SPARSE_T ? left : left < 2 * SPARSE_T ? (left + 1) / 2 : SPARSE_T;
#endif
}

typedef struct {
    list l;
    size_t rows, vectors, y_channel;
    const float *x, *value, *bias;
    float *y;
    const int32_t *shift; /* one per stretch of a row's list; NULL where that is whole */
    size_t stretches, unit;
} sparse_job;

#if defined(__AVX512F__) && VW == 16
#define SHIFTED
/* s[t] as one run of lanes, moved up by so many (down where negative), zeros coming in. */
INLINE void move_lanes(vf *s, int count, int by)
{
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    if (by > 0) {
        __m512i from = _mm512_add_epi32(lane, _mm512_set1_epi32(16 - by));
        UNROLL for (int t = count - 1; t >= 0; t--)
            s[t] = (vf)_mm512_permutex2var_ps((__m512)(t ? s[t - 1] : (vf){0}), from, (__m512)s[t]);
    } else if (by < 0) {
        __m512i from = _mm512_sub_epi32(lane, _mm512_set1_epi32(by));
        UNROLL for (int t = 0; t < count; t++)
            s[t] = (vf)_mm512_permutex2var_ps((__m512)s[t], from, (__m512)(t + 1 < count ? s[t + 1] : (vf){0}));
    }
}

/* A row's sums where offsets of each stretch are a shift more than whole vectors: x is read where vectors lie, and what
 * it sums to is moved instead. */
#define SHIFTED_RUN(T)                                                                                            \
    static void shifted_##T(const sparse_job *job, const float *x, size_t row, float first, float *y)              \
    {                                                                                                             \
        const uint32_t *ends = job->l.ends + row * job->stretches;                                                \
        const int32_t *offset = (const int32_t *)job->l.index;                                                    \
        int32_t at_shift = 0;                                                                                     \
        vf s[T];                                                                                                  \
        UNROLL for (int t = 0; t < (T); t++) s[t] = (vf){0};                                                      \
        for (size_t g = 0; g < job->stretches; g++) {                                                             \
            const float *xg = x - job->shift[g];                                                                  \
            size_t j = ends[g], to = ends[g + 1];                                                                 \
            if (j == to) continue;                                                                                \
            move_lanes(s, (T), job->shift[g] - at_shift);                                                         \
            at_shift = job->shift[g];                                                                             \
            for (; j < to; j++) {                                                                                 \
                const float *xj = xg + offset[j];                                                                 \
                float u = job->value[j];                                                                          \
                UNROLL for (int t = 0; t < (T); t++) s[t] += u * load(xj + t * VW);                               \
            }                                                                                                     \
        }                                                                                                         \
        move_lanes(s, (T), -at_shift);                                                                            \
        UNROLL for (int t = 0; t < (T); t++) store(y + t * VW, s[t] + first);                                     \
    }
SHIFTED_RUN(1)
SHIFTED_RUN(2)
SHIFTED_RUN(3)
SHIFTED_RUN(4)
SHIFTED_RUN(5)
SHIFTED_RUN(6)
SHIFTED_RUN(7)
SHIFTED_RUN(8)
#undef SHIFTED_RUN

typedef void (*shifted_function)(const sparse_job *job, const float *x, size_t row, float first, float *y);
static const shifted_function SHIFTED_RUNS[SPARSE_T] = {shifted_1, shifted_2, shifted_3, shifted_4,
                                                        shifted_5, shifted_6, shifted_7, shifted_8};
#endif

enum { SPARSE_WORDS = 15 };

/* y, x, values, bias (or none), index, ends, rows, kept, blocks, front of x, front and channel stride of y, positions
 * of a table or 0, stretches of a row's list or 0, blocks of a unit; then one offset into x per position, then a shift
 * per stretch, ascending.  `ends` are those of stretches where there are some; offsets of one are its shift more than
 * whole blocks, and what it sums to may be moved by that within a unit: nothing but pads leaves it. */
static regrow_status sparse_prepare(const machine *m, const uint32_t *w, uint32_t n, part some, sparse_job *job)
{
    WORDS(SPARSE_WORDS);
    uint64_t rows = w[6], kept = w[7], run = times(w[8], LANES), stretches = w[13], front = w[9], high, most = 0;
    WORDS(SPARSE_WORDS + (uint64_t)w[12] + stretches);
    const int32_t *shift = (const int32_t *)(w + SPARSE_WORDS + w[12]);
    for (size_t g = 0; g < stretches; g++) {
        uint64_t far = shift[g] < 0 ? (uint64_t)-(int64_t)shift[g] : (uint64_t)shift[g];
        if (far >= LANES) return REGROW_E_WORDS;
        most = far > most ? far : most;
    }
    if (stretches && (!w[14] || w[14] > SPARSE_T || w[12])) return REGROW_E_WORDS;
    if (most > front) return REGROW_E_BOUNDS;
    uint64_t lists = stretches ? times(rows, stretches) : rows;
    list l;
    regrow_status status = list_read(m, w + 4, lists, kept, w[12], w + SPARSE_WORDS, &l);
    if (status != REGROW_OK) return status;
    if (!list_apart(m, w + 4, w, 1) || !list_holds(&l, lists, w[12], kept, front - most, &high)) return REGROW_E_INDEX;
    TAKE(float, y, w[0], planes_extent(w[10], some.planes ? some.planes : rows, w[11], some.y_run ? some.y_run : run));
    TAKE(const float, x, w[1], plus(plus(front, some.x_run ? some.x_run : run), plus(high, most)));
    TAKE(const float, value, w[2], kept);
    TAKE_MAYBE(const float, bias, w[3], rows);
    sparse_job made = {l, (size_t)rows, (size_t)(run / VW), w[11], x + front, value, bias, y + w[10], stretches ? shift : NULL,
                       stretches ? (size_t)stretches : 1, w[14]};
    *job = made;
    return REGROW_OK;
}

#if VW > 1
/* A row of few weights over all of its vectors at once: there writing y is most of the work. */
#define FEW(Q)                                                                                                    \
    static void few_##Q(const sparse_job *job, const float *x, size_t from, size_t vectors, float first, float *y) \
    {                                                                                                             \
        const float *xq[(Q) + 1];                                                                                 \
        float u[(Q) + 1];                                                                                         \
        UNROLL for (int q = 0; q < (Q); q++) {                                                                    \
            xq[q] = x + offset_at(&job->l, from + (size_t)q);                                                     \
            u[q] = job->value[from + (size_t)q];                                                                      \
        }                                                                                                         \
        for (size_t v = 0; v < vectors; v++) {                                                                    \
            vf s = splat(first);                                                                                  \
            UNROLL for (int q = 0; q < (Q); q++) s += u[q] * load(xq[q] + v * VW);                             \
            store(y + v * VW, s);                                                                                 \
        }                                                                                                         \
    }
FEW(0)
FEW(1)
FEW(2)
FEW(3)
#undef FEW


typedef void (*few_function)(const sparse_job *job, const float *x, size_t from, size_t vectors, float first, float *y);
static const few_function FEWS[] = {few_0, few_1, few_2, few_3};
#define MOST_FEW 3
#endif

/* One row over a tile of its vectors. */
INLINE void sparse_row(const sparse_job *job, size_t row, const float *x, size_t tile, float *y)
{
    const uint32_t *ends = job->l.ends + row * job->stretches;
    float first = job->bias ? job->bias[row] : 0.0f;
#if defined(SHIFTED)
    if (job->shift) {
        SHIFTED_RUNS[tile - 1](job, x, row, first, y);
        return;
    }
#endif
    RUNS[tile - 1](&job->l, x, job->value, ends[0], ends[job->stretches], first, y);
}

/* Some rows, the first of them at y. Tiles outside, rows inside: the slab of x under a tile stays in the first cache. */
static void sparse_rows(const sparse_job *job, size_t first, size_t count, const float *x, size_t vectors, float *y)
{
#if defined(MOST_FEW)
    const uint32_t *ends = job->l.ends;
    size_t many = 0;
    for (size_t r = first; r < first + count; r++) {
        size_t from = ends[r * job->stretches], kept = ends[(r + 1) * job->stretches] - from;
        if (kept <= MOST_FEW)
            FEWS[kept](job, x, from, vectors, job->bias ? job->bias[r] : 0.0f, y + (r - first) * job->y_channel);
        else many++;
    }
    if (!many) return;
#endif
    for (size_t v = 0, t; v < vectors; v += t) {
        t = sparse_tile(vectors - v);
#if defined(SHIFTED)
        if (job->shift) t = t > job->unit ? t - t % job->unit : vectors - v < job->unit ? vectors - v : job->unit;
#endif
        for (size_t r = first; r < first + count; r++) {
#if defined(MOST_FEW)
            if (ends[(r + 1) * job->stretches] - ends[r * job->stretches] <= MOST_FEW) continue;
#endif
            sparse_row(job, r, x + v * VW, t, y + (r - first) * job->y_channel + v * VW);
        }
    }
}

static regrow_status op_conv_sparse(const machine *m, const uint32_t *w, uint32_t n)
{
    sparse_job job;
    regrow_status status = sparse_prepare(m, w, n, WHOLE, &job);
    if (status == REGROW_OK) sparse_rows(&job, 0, job.rows, job.x, job.vectors, job.y);
    return status;
}

typedef struct {
    list l; /* filters by filters, as often as there are `parts` */
    size_t parts, rows, tile, vectors, kept, dy_channel;
    const uint32_t *target; /* where in g a position's gradient goes; NULL where in their order */
    const float *dy, *x;
    float *g;
} sparse_grad_job;

/* Q kept positions share each load of dy; with fewer than five, several stretches of it are summed side by side. */
#define KEPT(Q)                                                                                                    \
    static void kept_##Q(const sparse_grad_job *job, const float *dy, const float *x, size_t j, size_t run)        \
    {                                                                                                             \
        enum { SIDE = (Q) > 4 ? 1 : (Q) > 2 ? 2 : 8 / (Q) };                                                      \
        const float *xq[Q];                                                                                       \
        vf s[8];                                                                                                  \
        float sums[8];                                                                                            \
        size_t i = 0;                                                                                             \
        UNROLL for (int q = 0; q < 8; q++) s[q] = (vf){0};                                                        \
        UNROLL for (size_t q = 0; q < (Q); q++) xq[q] = x + offset_at(&job->l, j + q);                            \
        for (; i + SIDE <= run; i += SIDE)                                                                        \
            UNROLL for (size_t u = 0; u < SIDE; u++) {                                                            \
                vf d = load(dy + (i + u) * VW);                                                                   \
                UNROLL for (size_t q = 0; q < (Q); q++) s[q * SIDE + u] += d * load(xq[q] + (i + u) * VW);        \
            }                                                                                                     \
        for (; i < run; i++) {                                                                                    \
            vf d = load(dy + i * VW);                                                                             \
            UNROLL for (size_t q = 0; q < (Q); q++) s[q * SIDE] += d * load(xq[q] + i * VW);                      \
        }                                                                                                         \
        sum_eight(s, sums);                                                                                       \
        UNROLL for (size_t q = 0; q < (Q); q++) {                                                                 \
            UNROLL for (size_t u = 1; u < SIDE; u++) sums[q * SIDE] += sums[q * SIDE + u];                        \
            job->g[job->target ? job->target[j + q] : j + q] += sums[q * SIDE];                                   \
        }                                                                                                         \
    }
KEPT(1)
KEPT(2)
KEPT(4)
KEPT(8)
#if VW > 1
KEPT(3)
KEPT(5)
KEPT(6)
KEPT(7)
#endif
#undef KEPT

typedef void (*kept_function)(const sparse_grad_job *job, const float *dy, const float *x, size_t j, size_t run);
#if VW > 1
static const kept_function KEPTS[8] = {kept_1, kept_2, kept_3, kept_4, kept_5, kept_6, kept_7, kept_8};
#else
static const kept_function KEPTS[8] = {kept_1, kept_2, NULL, kept_4, NULL, NULL, NULL, kept_8};
#endif

static void kept_dots(const sparse_grad_job *job, const float *dy, const float *x, size_t from, size_t to, size_t run)
{
    for (size_t j = from, q; j < to; j += q) {
        q = sparse_tile(to - j);
        KEPTS[q - 1](job, dy, x, j, run);
    }
}

/* g, dy, x, index, ends, targets (or none), parts, rows, kept, blocks, those of a tile, front of x, front and channel
 * stride of dy, positions of a table or 0, then one offset into x per position.  A part is some channels of x, which
 * a tile's stretch of them leaves in the first cache while all rows of dy pass by.  The pads of dy are zero. */
static regrow_status sparse_grad_prepare(const machine *m, const uint32_t *w, uint32_t n, part some, sparse_grad_job *job)
{
    WORDS(15);
    uint64_t parts = w[6], rows = w[7], kept = w[8], run = times(w[9], LANES), high;
    WORDS(15 + (uint64_t)w[14]);
    list l;
    regrow_status status = list_read(m, w + 3, times(parts, rows), kept, w[14], w + 15, &l);
    if (status != REGROW_OK) return status;
    if (!list_apart(m, w + 3, w, 1) || !apart(m, w[5], w[0])) return REGROW_E_INDEX;
    if (!list_holds(&l, parts * rows, w[14], kept, w[11], &high)) return REGROW_E_INDEX;
    if (!w[10] || w[10] > w[9]) return REGROW_E_WORDS;
    TAKE(float, g, w[0], kept);
    TAKE(const float, dy, w[1], planes_extent(w[12], some.planes ? some.planes : rows, w[13], run));
    TAKE(const float, x, w[2], plus(plus(w[11], some.x_run ? some.x_run : run), high));
    TAKE_MAYBE(const uint32_t, target, w[5], kept);
    for (size_t j = 0; target && j < kept; j++)
        if (target[j] >= kept) return REGROW_E_INDEX;
    sparse_grad_job made = {l, (size_t)parts, (size_t)rows, w[10] * (LANES / VW), (size_t)(run / VW), (size_t)kept, w[13], target,
                            dy + w[12], x + w[11], g};
    *job = made;
    return REGROW_OK;
}

/* To the gradients of some rows what one stretch of their dy adds. */
static void sparse_grad_rows(const sparse_grad_job *job, size_t first, size_t count, const float *dy, const float *x, size_t vectors)
{
    for (size_t v = 0; v < vectors; v += job->tile) {
        size_t some = vectors - v < job->tile ? vectors - v : job->tile;
        for (size_t p = 0; p < job->parts; p++) {
            const uint32_t *ends = job->l.ends + p * job->rows + first;
            for (size_t r = 0; r < count; r++)
                kept_dots(job, dy + r * job->dy_channel + v * VW, x + v * VW, ends[r], ends[r + 1], some);
        }
    }
}

static regrow_status op_conv_sparse_dw(const machine *m, const uint32_t *w, uint32_t n)
{
    sparse_grad_job job;
    regrow_status status = sparse_grad_prepare(m, w, n, WHOLE, &job);
    if (status != REGROW_OK) return status;
    zero(job.g, job.kept);
    sparse_grad_rows(&job, 0, job.rows, job.dy, job.x, job.vectors);
    return REGROW_OK;
}
