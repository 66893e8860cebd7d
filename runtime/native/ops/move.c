/* move.c - values filled, copied with strides, and rows picked by number. */

/* size of an item, y, count, the item's low and high word. */
static regrow_status op_fill(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(5);
    if (w[0] != 1 && w[0] != 4 && w[0] != 8) return REGROW_E_WORDS;
    uint8_t *y = (uint8_t *)at(m, w[1], w[2], w[0]);
    if (!y) return REGROW_E_BOUNDS;
    size_t count = w[2];
    if (w[0] == 1 || (w[3] == 0 && w[4] == 0)) memset(y, (int)(w[3] & 255u), count * w[0]);
    else if (w[0] == 4)
        for (size_t i = 0; i < count; i++) ((uint32_t *)(void *)y)[i] = w[3];
    else
        for (size_t i = 0; i < count; i++) ((uint64_t *)(void *)y)[i] = w[3] | (uint64_t)w[4] << 32;
    return REGROW_OK;
}

/* size of an item, y, x, first item of y, of x, rank, sizes, strides of y, of x.  Slices, joins, permutes, repeats. */
static regrow_status op_copy(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    axes s;
    regrow_status status = axes_read(&s, w[5], w + 6, n - 6);
    if (status != REGROW_OK) return status;
    WORDS(6 + 3 * s.rank);
    if (w[0] != 1 && w[0] != 4 && w[0] != 8) return REGROW_E_WORDS;
    if (s.total == 0) return REGROW_OK;
    const uint32_t *sy = w + 6 + s.rank, *sx = sy + s.rank;
    uint8_t *y = (uint8_t *)at(m, w[1], plus(w[3], axes_extent(&s, sy)), w[0]);
    const uint8_t *x = (const uint8_t *)at(m, w[2], plus(w[4], axes_extent(&s, sx)), w[0]);
    if (!y || !x) return REGROW_E_BOUNDS;
    y += (size_t)w[3] * w[0];
    x += (size_t)w[4] * w[0];
    size_t count = s.size[s.rank - 1], iy = sy[s.rank - 1], ix = sx[s.rank - 1];
    for (uint64_t r = 0; r < s.rows; r++, axes_next(&s)) {
        uint8_t *ry = y + axes_offset(&s, sy) * w[0];
        const uint8_t *rx = x + axes_offset(&s, sx) * w[0];
        if (ix == 1 && iy == 1) memmove(ry, rx, count * w[0]);
        else if (w[0] == 4)
            for (size_t i = 0; i < count; i++) ((uint32_t *)(void *)ry)[i * iy] = ((const uint32_t *)(const void *)rx)[i * ix];
        else if (w[0] == 8)
            for (size_t i = 0; i < count; i++) ((uint64_t *)(void *)ry)[i * iy] = ((const uint64_t *)(const void *)rx)[i * ix];
        else
            for (size_t i = 0; i < count; i++) ry[i * iy] = rx[i * ix];
    }
    return REGROW_OK;
}

/* y, table, index, how many, rows of the table, bytes of a row. */
static regrow_status op_gather(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    TAKE(uint8_t, y, w[0], times(w[3], w[5]));
    TAKE(const uint8_t, table, w[1], times(w[4], w[5]));
    TAKE(const int64_t, index, w[2], w[3]);
    for (size_t i = 0; i < w[3]; i++) {
        int64_t row = index[i] < 0 ? index[i] + w[4] : index[i];
        if (row < 0 || row >= w[4]) return REGROW_E_INDEX;
        memmove(y + i * w[5], table + (size_t)row * w[5], w[5]);
    }
    return REGROW_OK;
}

/* packed, dense, positions, how many, size of the dense value.  packed[i] = dense[positions[i]] */
static regrow_status op_pick(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(5);
    TAKE(float, packed, w[0], w[3]);
    TAKE(const float, dense, w[1], w[4]);
    TAKE(const uint32_t, positions, w[2], w[3]);
    for (size_t i = 0; i < w[3]; i++) {
        if (positions[i] >= w[4]) return REGROW_E_INDEX;
        packed[i] = dense[positions[i]];
    }
    return REGROW_OK;
}

/* The inverse, onto a copy of what the dense value was: dense, before, packed, positions, how many, size. */
static regrow_status op_place(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    TAKE(float, dense, w[0], w[5]);
    TAKE(const float, before, w[1], w[5]);
    TAKE(const float, packed, w[2], w[4]);
    TAKE(const uint32_t, positions, w[3], w[4]);
    memmove(dense, before, (size_t)w[5] * sizeof(float));
    for (size_t i = 0; i < w[4]; i++) {
        if (positions[i] >= w[5]) return REGROW_E_INDEX;
        dense[positions[i]] = packed[i];
    }
    return REGROW_OK;
}

typedef union {
    float value;
    uint32_t bits;
} number;

/* next, value, gradient, rate (one number), mask (or none), count.  next = mask ? value - rate * gradient : value */
static regrow_status op_update(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    TAKE(float, next, w[0], w[5]);
    TAKE(const float, value, w[1], w[5]);
    TAKE(const float, gradient, w[2], w[5]);
    TAKE(const float, rate, w[3], 1);
    TAKE_MAYBE(const uint8_t, mask, w[4], w[5]);
    size_t count = w[5];
    float r = *rate;
    if (mask)
        LANEWISE for (size_t i = 0; i < count; i++) {
            /* Chosen by bits: a branch, or a vector of truth values from bytes, takes several times as long. */
            number moved = {value[i] - r * gradient[i]}, still = {value[i]};
            uint32_t all = 0u - (uint32_t)(mask[i] != 0);
            still.bits = (moved.bits & all) | (still.bits & ~all);
            next[i] = still.value;
        }
    else
        LANEWISE for (size_t i = 0; i < count; i++) next[i] = value[i] - r * gradient[i];
    return REGROW_OK;
}
