/* sparse.c - the same sums over kept weights only: per row a list of positions (c, k), looked up in a table of offsets. */

/* A load that crosses a cache line costs two; half of the widest vectors cross only half as often, so these are half. */
#if VW == 16
#define HALF 8
typedef float hv __attribute__((vector_size(32)));
typedef float hv_loose __attribute__((vector_size(32), aligned(4), may_alias));
INLINE hv load_half(const float *p) { return *(const hv_loose *)p; }
INLINE void store_half(float *p, hv v) { *(hv_loose *)p = v; }
#define EVEN_H(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD_H(a, b) __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
INLINE void sum_eight_half(const hv *a, float *out)
{
    hv b0 = EVEN_H(a[0], a[1]) + ODD_H(a[0], a[1]), b1 = EVEN_H(a[2], a[3]) + ODD_H(a[2], a[3]);
    hv b2 = EVEN_H(a[4], a[5]) + ODD_H(a[4], a[5]), b3 = EVEN_H(a[6], a[7]) + ODD_H(a[6], a[7]);
    hv c0 = EVEN_H(b0, b1) + ODD_H(b0, b1), c1 = EVEN_H(b2, b3) + ODD_H(b2, b3);
    store_half(out, EVEN_H(c0, c1) + ODD_H(c0, c1));
}
#else
#define HALF VW
typedef vf hv;
#define load_half load
#define store_half store
#define sum_eight_half sum_eight
#endif
#define GRAD_HALVES (1024 / HALF) /* vectors between two reductions */

typedef struct {
    const void *index;
    const uint32_t *ends; /* rows + 1 of them: where the list of each row begins */
    const uint32_t *offset;
    uint32_t wide; /* whether an index has four bytes */
} list;

INLINE size_t list_at(const list *l, size_t j)
{
    return l->wide ? ((const uint32_t *)l->index)[j] : ((const uint16_t *)l->index)[j];
}

/* Every position inside the table, every offset inside x: what a plan says of them is not taken on trust. */
static int list_holds(const list *l, uint64_t rows, uint64_t positions, uint64_t kept, uint64_t front, uint64_t *high)
{
    uint32_t top = 0;
    int32_t low = 0, most = 0;
    for (size_t i = 0; i < positions; i++) {
        int32_t v = (int32_t)l->offset[i];
        low = v < low ? v : low;
        most = v > most ? v : most;
    }
    if ((uint64_t)-(int64_t)low > front || l->ends[0] != 0 || l->ends[rows] != kept) return 0;
    for (size_t r = 0; r < rows; r++)
        if (l->ends[r] > l->ends[r + 1]) return 0;
    if (l->wide)
        for (size_t j = 0; j < kept; j++) top = ((const uint32_t *)l->index)[j] > top ? ((const uint32_t *)l->index)[j] : top;
    else {
        uint16_t narrow = 0;
        for (size_t j = 0; j < kept; j++) narrow = ((const uint16_t *)l->index)[j] > narrow ? ((const uint16_t *)l->index)[j] : narrow;
        top = narrow;
    }
    *high = (uint64_t)most;
    return kept == 0 || top < positions;
}

#define SUM_RUN(T, INDEX)                                                                                          \
    for (size_t j = from; j < to; j++) {                                                                          \
        const float *xj = x + (int32_t)l->offset[((const INDEX *)l->index)[j]];                                   \
        float u = value[j];                                                                                       \
        UNROLL for (int t = 0; t < (T); t++) s[t] += u * load_half(xj + t * HALF);                                \
    }
#define RUN(T)                                                                                                    \
    static void run_##T(const list *l, const float *x, const float *value, size_t from, size_t to, float first,   \
                        float *y)                                                                                 \
    {                                                                                                             \
        hv s[T];                                                                                                  \
        UNROLL for (int t = 0; t < (T); t++) s[t] = (hv){0} + first;                                              \
        if (l->wide) { SUM_RUN(T, uint32_t) }                                                                     \
        else { SUM_RUN(T, uint16_t) }                                                                             \
        UNROLL for (int t = 0; t < (T); t++) store_half(y + t * HALF, s[t]);                                      \
    }
RUN(1)
RUN(2)
RUN(4)
RUN(8)
#undef RUN
#undef SUM_RUN

/* The next tile, in vectors of HALF. */
INLINE size_t sparse_tile(size_t left)
{
    return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

typedef struct {
    list l;
    size_t rows, vectors, y_channel;
    const float *x, *value, *bias;
    float *y;
} sparse_job;

/* y, x, values, bias (or none), index, ends, bytes of an index, rows, positions, kept, blocks, front of x,
 * front and channel stride of y, then one offset into x per position.  `planes` of y are there, or all where 0. */
static regrow_status sparse_prepare(const machine *m, const uint32_t *w, uint32_t n, uint64_t planes, sparse_job *job)
{
    WORDS(14);
    uint64_t rows = w[7], positions = w[8], kept = w[9], run = times(w[10], LANES), high;
    WORDS(14 + positions);
    if (w[6] != 2 && w[6] != 4) return REGROW_E_WORDS;
    TAKE(const uint32_t, ends, w[5], rows + 1);
    list l = {at(m, w[4], kept, w[6]), ends, w + 14, w[6] == 4};
    if (!l.index || !list_holds(&l, rows, positions, kept, w[11], &high)) return REGROW_E_INDEX;
    TAKE(float, y, w[0], planes_extent(w[12], planes ? planes : rows, w[13], run));
    TAKE(const float, x, w[1], plus(plus(w[11], run), high));
    TAKE(const float, value, w[2], kept);
    TAKE_MAYBE(const float, bias, w[3], rows);
    sparse_job made = {l, (size_t)rows, (size_t)(run / HALF), w[13], x + w[11], value, bias, y + w[12]};
    *job = made;
    return REGROW_OK;
}

/* Some rows, the first of them at y. Tiles outside, rows inside: the slab of x under a tile stays in the first cache. */
static void sparse_rows(const sparse_job *job, size_t first, size_t count, float *y)
{
    const list *l = &job->l;
    for (size_t v = 0; v < job->vectors;) {
        size_t t = sparse_tile(job->vectors - v);
        const float *xv = job->x + v * HALF;
        for (size_t r = first; r < first + count; r++) {
            float *yr = y + (r - first) * job->y_channel + v * HALF, start = job->bias ? job->bias[r] : 0.0f;
            size_t from = l->ends[r], to = l->ends[r + 1];
            if (t == 8) run_8(l, xv, job->value, from, to, start, yr);
            else if (t == 4) run_4(l, xv, job->value, from, to, start, yr);
            else if (t == 2) run_2(l, xv, job->value, from, to, start, yr);
            else run_1(l, xv, job->value, from, to, start, yr);
        }
        v += t;
    }
}

static regrow_status op_conv_sparse(const machine *m, const uint32_t *w, uint32_t n)
{
    sparse_job job;
    regrow_status status = sparse_prepare(m, w, n, 0, &job);
    if (status == REGROW_OK) sparse_rows(&job, 0, job.rows, job.y);
    return status;
}

/* Q kept positions share each load of dy. */
#define KEPT(Q)                                                                                                    \
    static void kept_##Q(const list *l, const float *dy, const float *x, size_t j, size_t run, float *g)           \
    {                                                                                                             \
        const float *xq[Q];                                                                                       \
        hv s[8];                                                                                                  \
        float sums[8];                                                                                            \
        UNROLL for (int q = 0; q < 8; q++) s[q] = (hv){0};                                                        \
        UNROLL for (size_t q = 0; q < (Q); q++) xq[q] = x + (int32_t)l->offset[list_at(l, j + q)];                \
        for (size_t i = 0; i < run; i++) {                                                                        \
            hv d = load_half(dy + i * HALF);                                                                      \
            UNROLL for (int q = 0; q < (Q); q++) s[q] += d * load_half(xq[q] + i * HALF);                         \
        }                                                                                                         \
        sum_eight_half(s, sums);                                                                                  \
        UNROLL for (size_t q = 0; q < (Q); q++) g[j + q] += sums[q];                                              \
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

/* g, dy, x, index, ends, bytes of an index, rows, positions, kept, blocks, front of x, front and channel stride
 * of dy, then one offset into x per position.  The pads of dy are zero. `planes` of dy are there, or all where 0. */
static regrow_status sparse_grad_prepare(const machine *m, const uint32_t *w, uint32_t n, uint64_t planes, sparse_grad_job *job)
{
    WORDS(13);
    uint64_t rows = w[6], positions = w[7], kept = w[8], run = times(w[9], LANES), high;
    WORDS(13 + positions);
    if (w[5] != 2 && w[5] != 4) return REGROW_E_WORDS;
    TAKE(const uint32_t, ends, w[4], rows + 1);
    list l = {at(m, w[3], kept, w[5]), ends, w + 13, w[5] == 4};
    if (!l.index || !list_holds(&l, rows, positions, kept, w[10], &high)) return REGROW_E_INDEX;
    TAKE(float, g, w[0], kept);
    TAKE(const float, dy, w[1], planes_extent(w[11], planes ? planes : rows, w[12], run));
    TAKE(const float, x, w[2], plus(plus(w[10], run), high));
    sparse_grad_job made = {l, (size_t)rows, (size_t)(run / HALF), (size_t)kept, w[12], dy + w[11], x + w[10], g};
    *job = made;
    return REGROW_OK;
}

/* The gradients of some rows, whose dy begins there; g was zero before. */
static void sparse_grad_rows(const sparse_grad_job *job, size_t first, size_t count, const float *dy)
{
    for (size_t v = 0; v < job->vectors; v += GRAD_HALVES) {
        size_t some = job->vectors - v < GRAD_HALVES ? job->vectors - v : GRAD_HALVES;
        for (size_t r = first; r < first + count; r++)
            kept_dots(&job->l, dy + (r - first) * job->dy_channel + v * HALF, job->x + v * HALF, job->l.ends[r], job->l.ends[r + 1],
                      some, job->g);
    }
}

static regrow_status op_conv_sparse_dw(const machine *m, const uint32_t *w, uint32_t n)
{
    sparse_grad_job job;
    regrow_status status = sparse_grad_prepare(m, w, n, 0, &job);
    if (status != REGROW_OK) return status;
    zero(job.g, job.kept);
    sparse_grad_rows(&job, 0, job.rows, job.dy);
    return REGROW_OK;
}
