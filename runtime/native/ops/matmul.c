/* matmul.c - matrix products by strides: of an operand that runs the other way some columns at most are turned round. */

#if VW == 16
#define MATMUL_T 4
#else
#define MATMUL_T 2
#endif

typedef struct {
    size_t m, k, n;
    size_t a_row, a_col, b_row, b_col, y_row;
    int resume; /* y holds sums already */
} product;

/* R rows of y, T vectors of each, b by whole rows. With 64-byte vectors the last of them may be cut short: there that costs
 * nothing. */
#if VW == 16
#define LAST(p) load_some((p), last)
#define STORE_LAST(p, v) store_some((p), (v), last)
#else
#define LAST(p) load(p)
#define STORE_LAST(p, v) store((p), (v))
#endif
#define LOAD_ROW(T, v, p)                                                                                       \
    UNROLL for (int t = 0; t + 1 < (T); t++) v[t] = load((p) + t * VW);                                         \
    v[(T) - 1] = LAST((p) + ((T) - 1) * VW);
#define ROWS(R, T)                                                                                              \
    static void rows_##R##_##T(const product *p, const float *a, const float *b, const float *bias, float *y, size_t last) \
    {                                                                                                           \
        vf s[R][T], v[T];                                                                                       \
        const float *at_a[((R) + 2) / 3]; /* from each of which an address reaches three rows */                \
        size_t row = p->a_row, b_row = p->b_row;                                                                \
        const float *from = p->resume ? y : bias; /* where sums begin: those of all rows with one bias */       \
        size_t step = p->resume ? p->y_row : 0;                                                                 \
        UNROLL for (int q = 0; q < ((R) + 2) / 3; q++) at_a[q] = a + 3 * (size_t)q * row;                       \
        (void)last;                                                                                             \
        if (from) {                                                                                             \
            UNROLL for (int r = 0; r < (R); r++) { LOAD_ROW(T, s[r], from + (size_t)r * step) }                 \
        } else {                                                                                                \
            UNROLL for (int r = 0; r < (R); r++)                                                                \
                UNROLL for (int t = 0; t < (T); t++) s[r][t] = (vf){0};                                         \
        }                                                                                                       \
        for (size_t k = p->k; k > 0; k--, b += b_row) {                                                         \
            LOAD_ROW(T, v, b)                                                                                   \
            UNROLL for (int r = 0; r < (R); r++) {                                                              \
                float f = at_a[r / 3][(size_t)(r % 3) * row];                                                   \
                UNROLL for (int t = 0; t < (T); t++) s[r][t] += f * v[t];                                       \
            }                                                                                                   \
            UNROLL for (int q = 0; q < ((R) + 2) / 3; q++) at_a[q] += p->a_col;                                 \
        }                                                                                                       \
        UNROLL for (int r = 0; r < (R); r++) {                                                                  \
            float *yr = y + (size_t)r * p->y_row;                                                               \
            UNROLL for (int t = 0; t + 1 < (T); t++) store(yr + t * VW, s[r][t]);                               \
            STORE_LAST(yr + ((T) - 1) * VW, s[r][(T) - 1]);                                                     \
        }                                                                                                       \
    }
#if VW == 16
#define EACH_R(X, T) X(1, T) X(2, T) X(3, T) X(4, T) X(5, T) X(6, T)
EACH_R(ROWS, 1)
EACH_R(ROWS, 2)
EACH_R(ROWS, 3)
EACH_R(ROWS, 4)
ROWS(12, 1)
ROWS(12, 2)
typedef void (*rows_function)(const product *p, const float *a, const float *b, const float *bias, float *y, size_t last);
#define NAME(R, T) rows_##R##_##T,
static const rows_function ROWS_OF[MATMUL_T][7] = {
    {EACH_R(NAME, 1) rows_12_1}, {EACH_R(NAME, 2) rows_12_2}, {EACH_R(NAME, 3)}, {EACH_R(NAME, 4)}};
#undef NAME
#undef EACH_R

/* How many rows the next kernel takes: as many as fit the registers, and no few at the end. */
INLINE size_t rows_at_once(size_t left, size_t vectors)
{
    if (vectors <= 2 && (left == 12 || left >= 15)) return 12;
    return left <= 6 ? left : left >= 11 ? 6 : (left + 1) / 2;
}

static void by_rows(const product *p, const float *a, const float *b, const float *bias, float *y)
{
    for (size_t j = 0; j < p->n; j += MATMUL_T * VW) {
        size_t vectors = (p->n - j + VW - 1) / VW, some = vectors < MATMUL_T ? vectors : MATMUL_T, left = p->n - j - (some - 1) * VW;
        for (size_t i = 0, rows; i < p->m; i += rows) {
            rows = rows_at_once(p->m - i, some);
            ROWS_OF[some - 1][rows < 7 ? rows - 1 : 6](p, a + i * p->a_row, b + j, bias ? bias + j : NULL, y + i * p->y_row + j, left < VW ? left : VW);
        }
    }
}
#else
ROWS(4, 2)
ROWS(1, 2)

/* What is left of a row: fewer lanes than a vector, or a single vector. */
static void row_rest(const product *p, const float *a, const float *b, const float *bias, float *y, size_t left)
{
    for (; left; ) {
        size_t some = left < VW ? left : VW;
        vf s = p->resume ? load_some(y, some) : bias ? load_some(bias, some) : (vf){0};
        for (size_t k = 0; k < p->k; k++) s += a[k * p->a_col] * load_some(b + k * p->b_row, some);
        store_some(y, s, some);
        left -= some;
        b += some;
        y += some;
        if (bias) bias += some;
    }
}

static void by_rows(const product *p, const float *a, const float *b, const float *bias, float *y)
{
    size_t i = 0;
    for (; i < p->m;) {
        size_t rows = p->m - i >= 4 ? 4 : 1, j = 0;
        const float *ai = a + i * p->a_row;
        float *yi = y + i * p->y_row;
        for (; j + MATMUL_T * VW <= p->n; j += MATMUL_T * VW)
            if (rows == 4) rows_4_2(p, ai, b + j, bias ? bias + j : NULL, yi + j, VW);
            else rows_1_2(p, ai, b + j, bias ? bias + j : NULL, yi + j, VW);
        for (size_t r = 0; r < rows && j < p->n; r++)
            row_rest(p, ai + r * p->a_row, b + j, bias ? bias + j : NULL, yi + r * p->y_row + j, p->n - j);
        i += rows;
    }
}
#endif

#if VW >= 8
enum { PANEL_K = 64, PANEL_N = 2 * VW, FEWEST_ROWS = 8 };

/* Where b runs along k: some columns of it are turned round at a time, which pays off from a few rows of a on. */
static void by_panels(const product *p, const float *a, const float *b, const float *bias, float *y)
{
    float panel[PANEL_K * PANEL_N];
    for (size_t j = 0; j < p->n; j += PANEL_N)
        for (size_t k = 0; k < p->k; k += PANEL_K) {
            size_t columns = p->n - j < PANEL_N ? p->n - j : PANEL_N, some = p->k - k < PANEL_K ? p->k - k : PANEL_K;
            for (size_t c = 0; c < columns; c += VW)
                for (size_t i = 0; i < some; i += VW) {
                    vf v[VW];
                    UNROLL for (size_t r = 0; r < VW; r++)
                        v[r] = c + r < columns ? load_some(b + (j + c + r) * p->b_col + k + i, some - i) : (vf){0};
                    transpose(v);
                    UNROLL for (size_t r = 0; r < VW; r++) store(panel + (i + r) * PANEL_N + c, v[r]);
                }
            product part = {p->m, some, columns, p->a_row, p->a_col, PANEL_N, 1, p->y_row, p->resume || k > 0};
            by_rows(&part, a + k * p->a_col, panel, bias ? bias + j : NULL, y + j);
        }
}
#endif

#undef ROWS
#undef LOAD_ROW
#undef STORE_LAST
#undef LAST

/* Both operands run along k: 2 x 4 dot products at a time. */
static void by_dots(const product *p, const float *a, const float *b, const float *bias, float *y)
{
    for (size_t i = 0; i < p->m; i += 2)
        for (size_t j = 0; j < p->n; j += 4) {
            const float *pa[2], *pb[4];
            vf s[8];
            float sums[8];
            for (size_t r = 0; r < 2; r++) pa[r] = a + (i + r < p->m ? i + r : i) * p->a_row;
            for (size_t c = 0; c < 4; c++) pb[c] = b + (j + c < p->n ? j + c : j) * p->b_col;
            UNROLL for (int q = 0; q < 8; q++) s[q] = (vf){0};
            for (size_t k = 0; k < p->k; k += VW) {
                size_t some = p->k - k;
                vf u0 = load_some(pa[0] + k, some), u1 = load_some(pa[1] + k, some);
                UNROLL for (int c = 0; c < 4; c++) {
                    vf v = load_some(pb[c] + k, some);
                    s[c] += u0 * v;
                    s[c + 4] += u1 * v;
                }
            }
            sum_eight(s, sums);
            for (size_t r = 0; r < 2 && i + r < p->m; r++)
                for (size_t c = 0; c < 4 && j + c < p->n; c++)
                    y[(i + r) * p->n + j + c] = sums[r * 4 + c] + (bias ? bias[j + c] : 0.0f);
        }
}

static void by_scalars(const product *p, const float *a, const float *b, const float *bias, float *y)
{
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++) {
            float s = bias ? bias[j] : 0.0f;
            for (size_t k = 0; k < p->k; k++) s += a[i * p->a_row + k * p->a_col] * b[k * p->b_row + j * p->b_col];
            y[i * p->n + j] = s;
        }
}

/* y, a, b, bias (n, or none), m, k, n, strides of a (row, column), of b, rank of the batch, sizes, strides of a, of b. */
static regrow_status op_gemm(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(12);
    axes s;
    regrow_status status = axes_read(&s, w[11], w + 12, n - 12);
    if (status != REGROW_OK) return status;
    WORDS(12 + 3 * s.rank);
    product p = {w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[6], 0};
    const uint32_t *sa = w + 12 + s.rank, *sb = sa + s.rank;
    if (p.m == 0 || p.n == 0 || s.total == 0) return REGROW_OK;
    uint64_t inner_a = p.k ? plus(times(p.m - 1, p.a_row), times(p.k - 1, p.a_col)) : 0;
    uint64_t inner_b = p.k ? plus(times(p.n - 1, p.b_col), times(p.k - 1, p.b_row)) : 0;
    TAKE(float, y, w[0], times(s.total, times(p.m, p.n)));
    TAKE(const float, a, w[1], plus(axes_extent(&s, sa), inner_a));
    TAKE(const float, b, w[2], plus(axes_extent(&s, sb), inner_b));
    TAKE_MAYBE(const float, bias, w[3], p.n);
    size_t count = s.size[s.rank - 1], ia = sa[s.rank - 1], ib = sb[s.rank - 1];
    for (uint64_t r = 0; r < s.rows; r++, axes_next(&s))
        for (size_t i = 0; i < count; i++, y += p.m * p.n) {
            const float *ai = a + axes_offset(&s, sa) + i * ia, *bi = b + axes_offset(&s, sb) + i * ib;
            if (p.b_col == 1 && (p.n > 4 || p.b_row != 1)) by_rows(&p, ai, bi, bias, y);
#if VW >= 8
            else if (p.b_row == 1 && p.k >= VW && p.m >= FEWEST_ROWS) by_panels(&p, ai, bi, bias, y);
#endif
            else if (p.a_col == 1 && p.b_row == 1) by_dots(&p, ai, bi, bias, y);
            else by_scalars(&p, ai, bi, bias, y);
        }
    return REGROW_OK;
}
