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
    for (size_t i = 0; i < count; i++) {
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
} sparse_job;

/* y, x, values, bias (or none), index, ends, rows, kept, blocks, front of x, front and channel stride of y, positions
 * of a table or 0, then one offset into x per position. */
static regrow_status sparse_prepare(const machine *m, const uint32_t *w, uint32_t n, part some, sparse_job *job)
{
    WORDS(13);
    uint64_t rows = w[6], kept = w[7], run = times(w[8], LANES), high;
    WORDS(13 + (uint64_t)w[12]);
    list l;
    regrow_status status = list_read(m, w + 4, rows, kept, w[12], w + 13, &l);
    if (status != REGROW_OK) return status;
    if (!list_apart(m, w + 4, w, 1) || !list_holds(&l, rows, w[12], kept, w[9], &high)) return REGROW_E_INDEX;
    TAKE(float, y, w[0], planes_extent(w[10], some.planes ? some.planes : rows, w[11], run));
    TAKE(const float, x, w[1], plus(plus(w[9], some.x_run ? some.x_run : run), high));
    TAKE(const float, value, w[2], kept);
    TAKE_MAYBE(const float, bias, w[3], rows);
    sparse_job made = {l, (size_t)rows, (size_t)(run / VW), w[11], x + w[9], value, bias, y + w[10]};
    *job = made;
    return REGROW_OK;
}

/* Some rows, the first of them at y. Tiles outside, rows inside: the slab of x under a tile stays in the first cache. */
static void sparse_rows(const sparse_job *job, size_t first, size_t count, const float *x, size_t vectors, float *y)
{
    const list *l = &job->l;
    for (size_t v = 0; v < vectors;) {
        size_t t = sparse_tile(vectors - v);
        run_function run = RUNS[t - 1];
        for (size_t r = first; r < first + count; r++)
            run(l, x + v * VW, job->value, l->ends[r], l->ends[r + 1], job->bias ? job->bias[r] : 0.0f,
                y + (r - first) * job->y_channel + v * VW);
        v += t;
    }
}

static regrow_status op_conv_sparse(const machine *m, const uint32_t *w, uint32_t n)
{
    sparse_job job;
    regrow_status status = sparse_prepare(m, w, n, WHOLE, &job);
    if (status == REGROW_OK) sparse_rows(&job, 0, job.rows, job.x, job.vectors, job.y);
    return status;
}

/* Q kept positions share each load of dy; with fewer than eight, several stretches of it are summed side by side. */
#define KEPT(Q)                                                                                                    \
    static void kept_##Q(const list *l, const float *dy, const float *x, size_t j, size_t run, float *g)           \
    {                                                                                                             \
        enum { SIDE = 8 / (Q) };                                                                                  \
        const float *xq[Q];                                                                                       \
        vf s[8];                                                                                                  \
        float sums[8];                                                                                            \
        size_t i = 0;                                                                                             \
        UNROLL for (int q = 0; q < 8; q++) s[q] = (vf){0};                                                        \
        UNROLL for (size_t q = 0; q < (Q); q++) xq[q] = x + offset_at(l, j + q);                                  \
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
            g[j + q] += sums[q * SIDE];                                                                           \
        }                                                                                                         \
    }
KEPT(1)
KEPT(2)
KEPT(4)
KEPT(8)
#undef KEPT

static void kept_dots(const list *l, const float *dy, const float *x, size_t from, size_t to, size_t run, float *g)
{
    size_t j = from;
    for (; j + 8 <= to; j += 8) kept_8(l, dy, x, j, run, g);
    for (; j + 4 <= to; j += 4) kept_4(l, dy, x, j, run, g);
    for (; j + 2 <= to; j += 2) kept_2(l, dy, x, j, run, g);
    for (; j < to; j++) kept_1(l, dy, x, j, run, g);
}

typedef struct {
    list l;
    size_t rows, vectors, kept, dy_channel;
    const float *dy, *x;
    float *g;
} sparse_grad_job;

/* g, dy, x, index, ends, rows, kept, blocks, front of x, front and channel stride of dy, positions of a table or 0,
 * then one offset into x per position.  The pads of dy are zero. */
static regrow_status sparse_grad_prepare(const machine *m, const uint32_t *w, uint32_t n, part some, sparse_grad_job *job)
{
    WORDS(12);
    uint64_t rows = w[5], kept = w[6], run = times(w[7], LANES), high;
    WORDS(12 + (uint64_t)w[11]);
    list l;
    regrow_status status = list_read(m, w + 3, rows, kept, w[11], w + 12, &l);
    if (status != REGROW_OK) return status;
    if (!list_apart(m, w + 3, w, 1) || !list_holds(&l, rows, w[11], kept, w[8], &high)) return REGROW_E_INDEX;
    TAKE(float, g, w[0], kept);
    TAKE(const float, dy, w[1], planes_extent(w[9], some.planes ? some.planes : rows, w[10], run));
    TAKE(const float, x, w[2], plus(plus(w[8], some.x_run ? some.x_run : run), high));
    sparse_grad_job made = {l, (size_t)rows, (size_t)(run / VW), (size_t)kept, w[10], dy + w[9], x + w[8], g};
    *job = made;
    return REGROW_OK;
}

/* To the gradients of some rows what one stretch of their dy adds. */
static void sparse_grad_rows(const sparse_grad_job *job, size_t first, size_t count, const float *dy, const float *x, size_t vectors)
{
    for (size_t v = 0; v < vectors; v += GRAD_RUN) {
        size_t some = vectors - v < GRAD_RUN ? vectors - v : GRAD_RUN;
        for (size_t r = first; r < first + count; r++)
            kept_dots(&job->l, dy + (r - first) * job->dy_channel + v * VW, x + v * VW, job->l.ends[r], job->l.ends[r + 1], some, job->g);
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
