/* sparse.c - the same sums over kept weights only: per row a list of positions (c, k), looked up in a table of offsets. */

#define SPARSE_GRAD_RUN (1024 / VW) /* vectors between two reductions */

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

#define RUN(T)                                                                                                    \
    static void run_##T(const list *l, const float *x, const float *value, size_t from, size_t to, float first,   \
                        float *y)                                                                                 \
    {                                                                                                             \
        vf s[T];                                                                                                  \
        UNROLL for (int t = 0; t < (T); t++) s[t] = splat(first);                                                 \
        if (l->wide)                                                                                              \
            for (size_t j = from; j < to; j++) {                                                                  \
                const float *xj = x + (int32_t)l->offset[((const uint32_t *)l->index)[j]];                        \
                float u = value[j];                                                                               \
                UNROLL for (int t = 0; t < (T); t++) s[t] += u * load(xj + t * VW);                               \
            }                                                                                                     \
        else                                                                                                      \
            for (size_t j = from; j < to; j++) {                                                                  \
                const float *xj = x + (int32_t)l->offset[((const uint16_t *)l->index)[j]];                        \
                float u = value[j];                                                                               \
                UNROLL for (int t = 0; t < (T); t++) s[t] += u * load(xj + t * VW);                               \
            }                                                                                                     \
        UNROLL for (int t = 0; t < (T); t++) store(y + t * VW, s[t]);                                             \
    }
RUN(1)
RUN(2)
RUN(4)
RUN(8)
#undef RUN

/* y, x, values, bias (or none), index, ends, bytes of an index, rows, positions, kept, blocks, front of x,
 * front and channel stride of y, then one offset into x per position. */
static regrow_status op_conv_sparse(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(14);
    uint64_t rows = w[7], positions = w[8], kept = w[9], run = times(w[10], LANES), high;
    WORDS(14 + positions);
    if (w[6] != 2 && w[6] != 4) return REGROW_E_WORDS;
    TAKE(const uint32_t, ends, w[5], rows + 1);
    list l = {at(m, w[4], kept, w[6]), ends, w + 14, w[6] == 4};
    if (!l.index || !list_holds(&l, rows, positions, kept, w[11], &high)) return REGROW_E_INDEX;
    TAKE(float, y, w[0], planes_extent(w[12], rows, w[13], run));
    TAKE(const float, x, w[1], plus(plus(w[11], run), high));
    TAKE(const float, value, w[2], kept);
    TAKE_MAYBE(const float, bias, w[3], rows);
    size_t vectors = (size_t)(run / VW);
    for (size_t v = 0; v < vectors;) {
        size_t left = vectors - v, t = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        const float *xv = x + w[11] + v * VW;
        for (size_t r = 0; r < rows; r++) {
            float *yr = y + w[12] + r * w[13] + v * VW, first = bias ? bias[r] : 0.0f;
            if (t == 8) run_8(&l, xv, value, ends[r], ends[r + 1], first, yr);
            else if (t == 4) run_4(&l, xv, value, ends[r], ends[r + 1], first, yr);
            else if (t == 2) run_2(&l, xv, value, ends[r], ends[r + 1], first, yr);
            else run_1(&l, xv, value, ends[r], ends[r + 1], first, yr);
        }
        v += t;
    }
    return REGROW_OK;
}

/* Eight kept positions share each load of dy. */
static void kept_dots(const list *l, const float *dy, const float *x, size_t from, size_t to, size_t run, float *g)
{
    for (size_t j = from; j < to; j += 8) {
        const float *xq[8];
        vf s[8];
        float sums[8];
        UNROLL for (size_t q = 0; q < 8; q++) {
            xq[q] = x + (int32_t)l->offset[list_at(l, j + q < to ? j + q : j)];
            s[q] = (vf){0};
        }
        for (size_t i = 0; i < run; i++) {
            vf d = load(dy + i * VW);
            UNROLL for (int q = 0; q < 8; q++) s[q] += d * load(xq[q] + i * VW);
        }
        sum_eight(s, sums);
        for (size_t q = 0; q < 8 && j + q < to; q++) g[j + q] += sums[q];
    }
}

/* g, dy, x, index, ends, bytes of an index, rows, positions, kept, blocks, front of x, front and channel stride
 * of dy, then one offset into x per position.  The pads of dy are zero. */
static regrow_status op_conv_sparse_dw(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(13);
    uint64_t rows = w[6], positions = w[7], kept = w[8], run = times(w[9], LANES), high;
    WORDS(13 + positions);
    if (w[5] != 2 && w[5] != 4) return REGROW_E_WORDS;
    TAKE(const uint32_t, ends, w[4], rows + 1);
    list l = {at(m, w[3], kept, w[5]), ends, w + 13, w[5] == 4};
    if (!l.index || !list_holds(&l, rows, positions, kept, w[10], &high)) return REGROW_E_INDEX;
    TAKE(float, g, w[0], kept);
    TAKE(const float, dy, w[1], planes_extent(w[11], rows, w[12], run));
    TAKE(const float, x, w[2], plus(plus(w[10], run), high));
    size_t vectors = (size_t)(run / VW);
    zero(g, (size_t)kept);
    for (size_t v = 0; v < vectors; v += SPARSE_GRAD_RUN) {
        size_t some = vectors - v < SPARSE_GRAD_RUN ? vectors - v : SPARSE_GRAD_RUN;
        for (size_t r = 0; r < rows; r++)
            kept_dots(&l, dy + w[11] + r * w[12] + v * VW, x + w[10] + v * VW, ends[r], ends[r + 1], some, g);
    }
    return REGROW_OK;
}
