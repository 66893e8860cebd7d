/* binary.c - functions of two values that broadcast against each other, and selection by a truth value. */

enum {
#define X(name) BINARY_##name,
    REGROW_BINARIES(X)
#undef X
};

INLINE int64_t floor_quotient(int64_t a, int64_t b)
{
    if (b == 0) return 0;
    if (b == -1) return (int64_t)(0 - (uint64_t)a);
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

INLINE int64_t floor_rest(int64_t a, int64_t b)
{
    if (b == 0 || b == -1) return 0;
    return a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0);
}

INLINE int64_t wrap_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
INLINE int64_t wrap_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
INLINE int64_t wrap_mul(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }

#define LOOP(hint, sa_, sb_, expression)              \
    hint for (size_t i = 0; i < count; i++) {         \
        u = a[i * (sa_)];                             \
        v = b[i * (sb_)];                             \
        y[i] = (expression);                          \
    }
/* Of floats the three strides that matter are constants, so that the compiler sees whole vectors. */
#define ROW(name, IN, OUT, hint, expression)                                      \
    case BINARY_##name: {                                                         \
        if (!USES_BINARY_##name) return;                                          \
        const IN *a = (const IN *)pa;                                             \
        const IN *b = (const IN *)pb;                                             \
        OUT *y = (OUT *)py;                                                       \
        IN u, v;                                                                  \
        if (sizeof(OUT) == 4 && sa == 1 && sb == 1) { LOOP(hint, 1, 1, expression) }    \
        else if (sizeof(OUT) == 4 && sa == 1 && sb == 0) { LOOP(hint, 1, 0, expression) } \
        else if (sizeof(OUT) == 4 && sa == 0 && sb == 1) { LOOP(hint, 0, 1, expression) } \
        else { LOOP(, sa, sb, expression) }                                         \
        return;                                                                   \
    }

static const uint8_t BINARY_BUILT[] = {
#define X(name) USES_BINARY_##name,
    REGROW_BINARIES(X)
#undef X
};

static void binary_row(uint32_t function, size_t count, const void *pa, size_t sa, const void *pb, size_t sb, void *py)
{
    switch (function) {
        ROW(add, float, float, LANEWISE, u + v)
        ROW(sub, float, float, LANEWISE, u - v)
        ROW(mul, float, float, LANEWISE, u *v)
        ROW(div, float, float, LANEWISE, u / v)
        ROW(pow_tensor, float, float, , powf(u, v))
        ROW(greater, float, uint8_t, , u > v)
        ROW(greater_equal, float, uint8_t, , u >= v)
        ROW(equal, float, uint8_t, , u == v)
        ROW(add_int64, int64_t, int64_t, , wrap_add(u, v))
        ROW(sub_int64, int64_t, int64_t, , wrap_sub(u, v))
        ROW(mul_int64, int64_t, int64_t, , wrap_mul(u, v))
        ROW(floor_divide, int64_t, int64_t, , floor_quotient(u, v))
        ROW(remainder, int64_t, int64_t, , floor_rest(u, v))
        ROW(greater_int64, int64_t, uint8_t, , u > v)
        ROW(greater_equal_int64, int64_t, uint8_t, , u >= v)
        ROW(equal_int64, int64_t, uint8_t, , u == v)
        ROW(logical_and, uint8_t, uint8_t, , u && v)
        ROW(logical_or, uint8_t, uint8_t, , u || v)
        ROW(logical_not, uint8_t, uint8_t, , !u && !v)
    default: return;
    }
}
#undef ROW
#undef LOOP

/* function, y, a, b, rank, sizes, strides of a, strides of b.  y is contiguous and may be an operand of its own shape. */
static regrow_status op_binary(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(5);
    axes s;
    regrow_status status = axes_read(&s, w[4], w + 5, n - 5);
    if (status != REGROW_OK) return status;
    WORDS(5 + 3 * s.rank);
    if (w[0] > BINARY_logical_not) return REGROW_E_WORDS;
    if (!BINARY_BUILT[w[0]]) return REGROW_E_OP;
    const uint32_t *sa = w + 5 + s.rank, *sb = sa + s.rank;
    uint32_t in = w[0] < BINARY_add_int64 ? 4 : w[0] < BINARY_logical_and ? 8 : 1;
    uint32_t out = w[0] < BINARY_greater ? 4 : w[0] >= BINARY_add_int64 && w[0] <= BINARY_remainder ? 8 : 1;
    uint8_t *y = (uint8_t *)at(m, w[1], s.total, out);
    const uint8_t *a = (const uint8_t *)at(m, w[2], axes_extent(&s, sa), in);
    const uint8_t *b = (const uint8_t *)at(m, w[3], axes_extent(&s, sb), in);
    if (!y || !a || !b) return REGROW_E_BOUNDS;
    size_t count = s.size[s.rank - 1], row = count * out;
    for (uint64_t r = 0; r < s.rows && count; r++, y += row, axes_next(&s))
        binary_row(w[0], count, a + axes_offset(&s, sa) * in, sa[s.rank - 1], b + axes_offset(&s, sb) * in, sb[s.rank - 1], y);
    return REGROW_OK;
}

/* size of an item (4, 8, 1), y, mask, a, b, rank, sizes, strides of mask, of a, of b. */
static regrow_status op_select(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    axes s;
    regrow_status status = axes_read(&s, w[5], w + 6, n - 6);
    if (status != REGROW_OK) return status;
    WORDS(6 + 4 * s.rank);
    if (w[0] != 1 && w[0] != 4 && w[0] != 8) return REGROW_E_WORDS;
    const uint32_t *sm = w + 6 + s.rank, *sa = sm + s.rank, *sb = sa + s.rank;
    uint8_t *y = (uint8_t *)at(m, w[1], s.total, w[0]);
    const uint8_t *mask = (const uint8_t *)at(m, w[2], axes_extent(&s, sm), 1);
    const uint8_t *a = (const uint8_t *)at(m, w[3], axes_extent(&s, sa), w[0]);
    const uint8_t *b = (const uint8_t *)at(m, w[4], axes_extent(&s, sb), w[0]);
    if (!y || !mask || !a || !b) return REGROW_E_BOUNDS;
    size_t count = s.size[s.rank - 1], im = sm[s.rank - 1], ia = sa[s.rank - 1], ib = sb[s.rank - 1];
    for (uint64_t r = 0; r < s.rows && count; r++, y += count * w[0], axes_next(&s)) {
        const uint8_t *rm = mask + axes_offset(&s, sm);
        const uint8_t *ra = a + axes_offset(&s, sa) * w[0], *rb = b + axes_offset(&s, sb) * w[0];
#define CHOOSE(TYPE)                                                                                       \
        for (size_t i = 0; i < count; i++)                                                                 \
            ((TYPE *)(void *)y)[i] = rm[i * im] ? ((const TYPE *)(const void *)ra)[i * ia] : ((const TYPE *)(const void *)rb)[i * ib];
        if (w[0] == 4) { CHOOSE(float) }
        else if (w[0] == 8) { CHOOSE(int64_t) }
        else { CHOOSE(uint8_t) }
#undef CHOOSE
    }
    return REGROW_OK;
}
