/* winograd.c - 3x3 convolutions of many channels by fewer products: two by two results at a time, each from 16 sums over
 * channels instead of 36 products per channel, after Winograd's F(2x2, 3x3).
 *
 * Tiles of 4x4 values of x become 16 points each, and so do the weights; per point a product of two matrices sums over
 * channels; 16 points become 2x2 results. Here channels are neighbours in memory, on planes they are not: a stretch of
 * rows is turned round on the way in and out. The input gradient is the same with weights turned by half; the weights'
 * gradient sums over tiles instead of channels. Neither reads more than its planes hold: what lies beyond a pad meets only
 * results that are not kept. */

enum { POINTS = 16, SIDE = 4, KERNEL = 9 };

/* `count` channels of `length` floats each, to as many vectors of one float of each channel. */
static void channels_to_lanes(const float *from, size_t channel, size_t count, size_t length, float *to)
{
    for (size_t i = 0; i < length; i += VW) {
        vf a[VW];
        UNROLL for (size_t k = 0; k < VW; k++) a[k] = k < count ? load_some(from + k * channel + i, length - i) : (vf){0};
        transpose(a);
        UNROLL for (size_t k = 0; k < VW; k++) store(to + (i + k) * VW, a[k]);
    }
}

static void lanes_to_channels(const float *from, size_t length, float *to, size_t channel, size_t count)
{
    for (size_t i = 0; i < length; i += VW) {
        vf a[VW];
        UNROLL for (size_t k = 0; k < VW; k++) a[k] = load(from + (i + k) * VW);
        transpose(a);
        for (size_t k = 0; k < VW; k++)
            if (k < count) store_some(to + k * channel + i, a[k], length - i);
    }
}

/* Three weights, four values, two gradients along one axis to four points. */
INLINE void weights_points(vf a, vf b, vf c, vf *p)
{
    vf outer = 0.5f * (a + c), inner = 0.5f * b;
    p[0] = a;
    p[1] = outer + inner;
    p[2] = outer - inner;
    p[3] = c;
}

INLINE void values_points(vf a, vf b, vf c, vf d, vf *p)
{
    p[0] = a - c;
    p[1] = b + c;
    p[2] = c - b;
    p[3] = b - d;
}

INLINE void gradients_points(vf a, vf b, vf *p)
{
    p[0] = a;
    p[1] = a + b;
    p[2] = a - b;
    p[3] = -b;
}

/* Four points to two results, or to the gradients of three weights. */
INLINE void points_results(const vf *p, size_t step, vf *first, vf *second)
{
    *first = p[0] + p[step] + p[2 * step];
    *second = p[step] - p[2 * step] - p[3 * step];
}

INLINE void points_weights(const vf *p, size_t step, vf *first, vf *second, vf *third)
{
    vf outer = 0.5f * (p[step] + p[2 * step]);
    *first = p[0] + outer;
    *second = 0.5f * (p[step] - p[2 * step]);
    *third = outer + p[3 * step];
}

/* Tiles of a value, some lines of them at a time; a line is what lies between the sides of a sample. */
typedef struct {
    size_t samples, rows, columns, down, across, lines;
} tiling;

static tiling tiling_read(const uint32_t *w, uint32_t lines)
{
    tiling t = {w[0], w[1], w[2], w[1] / 2 + w[1] % 2, w[2] / 2 + w[2] % 2, lines};
    return t;
}

/* Points of so many tiles: where one of a tile lies from that of the tile before, of the point before. The latter are a
 * line of the cache more apart than need be, so that they do not meet in one place of it. */
typedef struct {
    float *at;
    uint64_t tile, point;
} points;

static points points_of(uint64_t tiles, uint64_t channels)
{
    points p = {NULL, times((channels + LANES - 1) / LANES, LANES), 0};
    p.point = plus(times(tiles, p.tile), LANES);
    return p;
}

static uint64_t points_floats(const points *p) { return times(POINTS, p->point); }

/* Floats that turning a stretch of rows takes. */
static uint64_t turning_floats(const tiling *t, uint64_t row)
{
    return times(plus(plus(times(row, SIDE - 1), 2 * (uint64_t)t->across + 2), LANES), LANES);
}

/* Rows no shorter than their tiles, samples no shorter than a row. */
static int tiles_fit(const tiling *t, const view *v) { return v->row >= 2 * t->across && v->sample >= v->row; }

/* What tiles read of x, from a row and a column before the first on; NULL where that is not there. */
static const float *tiles_of(const machine *m, uint32_t ref, const view *v, const tiling *t, uint64_t channels)
{
    uint64_t end = plus(plus(v->first, times(channels - 1, v->channel)), times(t->samples - 1, v->sample));
    end = plus(plus(end, times(2 * (uint64_t)t->down, v->row)), 2 * (uint64_t)t->across + 1);
    return v->first > v->row && tiles_fit(t, v) ? (const float *)at(m, ref, end, sizeof(float)) : NULL;
}

/* Lines of tiles of x to points. */
static void values_to_points(const tiling *t, size_t line, size_t lines, const float *x, const view *v, size_t channels, float *turned, const points *to)
{
    for (size_t c = 0; c < channels; c += VW)
        for (size_t l = 0; l < lines; l++) {
            size_t sample = (line + l) / t->down, i = (line + l) % t->down, row = v->row * VW;
            const float *from = x + v->first + c * v->channel + sample * v->sample + 2 * i * v->row - v->row - 1;
            float *p = to->at + l * t->across * to->tile + c;
            channels_to_lanes(from, v->channel, channels - c, (SIDE - 1) * v->row + 2 * t->across + 2, turned);
            for (size_t j = 0; j < t->across; j++, p += to->tile) {
                const float *d = turned + 2 * j * VW;
                vf half[SIDE][SIDE], whole[SIDE];
                UNROLL for (int b = 0; b < SIDE; b++)
                    values_points(load(d + b * VW), load(d + row + b * VW), load(d + 2 * row + b * VW), load(d + 3 * row + b * VW), half[b]);
                UNROLL for (size_t a = 0; a < SIDE; a++) {
                    values_points(half[0][a], half[1][a], half[2][a], half[3][a], whole);
                    UNROLL for (size_t b = 0; b < SIDE; b++) store(p + (a * SIDE + b) * to->point, whole[b]);
                }
            }
        }
}

/* Lines of tiles of a gradient, two by two values each, to points. */
static void gradients_to_points(const tiling *t, size_t line, size_t lines, const float *dy, const view *v, size_t channels, float *turned, const points *to)
{
    for (size_t c = 0; c < channels; c += VW)
        for (size_t l = 0; l < lines; l++) {
            size_t sample = (line + l) / t->down, i = (line + l) % t->down, row = v->row * VW;
            const float *from = dy + v->first + c * v->channel + sample * v->sample + 2 * i * v->row;
            float *p = to->at + l * t->across * to->tile + c;
            channels_to_lanes(from, v->channel, channels - c, v->row + 2 * t->across, turned);
            for (size_t j = 0; j < t->across; j++, p += to->tile) {
                const float *d = turned + 2 * j * VW;
                vf half[2][SIDE], whole[SIDE];
                UNROLL for (int b = 0; b < 2; b++) gradients_points(load(d + b * VW), load(d + row + b * VW), half[b]);
                UNROLL for (size_t a = 0; a < SIDE; a++) {
                    gradients_points(half[0][a], half[1][a], whole);
                    UNROLL for (size_t b = 0; b < SIDE; b++) store(p + (a * SIDE + b) * to->point, whole[b]);
                }
            }
        }
}

/* Points to lines of tiles of y. */
static void points_to_results(const tiling *t, size_t line, size_t lines, const points *from, size_t filters, const float *bias, float *turned, float *y, const view *v)
{
    for (size_t c = 0; c < filters; c += VW) {
        vf first = bias ? load_some(bias + c, filters - c) : (vf){0};
        for (size_t l = 0; l < lines; l++) {
            size_t sample = (line + l) / t->down, i = (line + l) % t->down, row = v->row * VW;
            const float *p = from->at + l * t->across * from->tile + c;
            float *to = y + v->first + c * v->channel + sample * v->sample + 2 * i * v->row;
            for (size_t j = 0; j < t->across; j++, p += from->tile) {
                vf all[POINTS], half[2][SIDE], r[2];
                float *d = turned + 2 * j * VW;
                UNROLL for (size_t k = 0; k < POINTS; k++) all[k] = load(p + k * from->point);
                UNROLL for (int b = 0; b < SIDE; b++) points_results(all + b, SIDE, &half[0][b], &half[1][b]);
                UNROLL for (size_t a = 0; a < 2; a++) {
                    points_results(half[a], 1, &r[0], &r[1]);
                    store(d + a * row, r[0] + first);
                    store(d + a * row + VW, r[1] + first);
                }
            }
            lanes_to_channels(turned, (2 * i + 1 < t->rows ? v->row : 0) + t->columns, to, v->channel, filters - c);
        }
    }
}

/* Nine numbers of each lane, `step` apart from lane to lane, the lanes past `count` zero; and back. */
static void kernels_load(const float *w, size_t step, size_t count, vf *g)
{
#if VW == 16
    vf a[VW];
    UNROLL for (size_t k = 0; k < VW; k++) a[k] = k < count ? load_some(w + k * step, KERNEL) : (vf){0};
    transpose(a);
    UNROLL for (int k = 0; k < KERNEL; k++) g[k] = a[k];
#else
    float t[KERNEL][VW] = {{0}};
    for (size_t i = 0; i < VW && i < count; i++)
        for (size_t k = 0; k < KERNEL; k++) t[k][i] = w[i * step + k];
    for (int k = 0; k < KERNEL; k++) g[k] = load(t[k]);
#endif
}

static void kernels_store(const vf *g, float *w, size_t count)
{
#if VW == 16
    vf a[VW];
    UNROLL for (int k = 0; k < VW; k++) a[k] = k < KERNEL ? g[k] : (vf){0};
    transpose(a);
    UNROLL for (size_t k = 0; k < VW; k++)
        if (k < count) store_some(w + k * KERNEL, a[k], KERNEL);
#else
    float t[KERNEL][VW];
    for (int k = 0; k < KERNEL; k++) store(t[k], g[k]);
    for (size_t i = 0; i < VW && i < count; i++)
        for (size_t k = 0; k < KERNEL; k++) w[i * KERNEL + k] = t[k][i];
#endif
}

enum { PANEL = MATMUL_T * VW }; /* filters that one product takes at once: their weights lie together */

/* Weights to points, by panels of filters: [point][panel][channel][filter]. A kernel turned by half is points in another order. */
static void weights_to_points(const float *w, size_t w_row, size_t w_channel, size_t channels, size_t filters, int by_half, const points *to)
{
    static const uint8_t TURNED[SIDE] = {3, 1, 2, 0};
    size_t all = (size_t)to->tile;
    for (size_t f = 0; f < filters; f += VW) {
        size_t panel = f / PANEL * PANEL, width = all - panel < PANEL ? all - panel : PANEL;
        float *p = to->at + panel * channels + (f - panel);
        for (size_t c = 0; c < channels; c++, p += width) {
            vf g[KERNEL], half[3][SIDE], whole[SIDE];
            kernels_load(w + f * w_row + c * w_channel, w_row, filters - f, g);
            UNROLL for (int b = 0; b < 3; b++) weights_points(g[b], g[3 + b], g[6 + b], half[b]);
            UNROLL for (size_t a = 0; a < SIDE; a++) {
                size_t row = by_half ? TURNED[a] : a;
                weights_points(half[0][a], half[1][a], half[2][a], whole);
                UNROLL for (size_t b = 0; b < SIDE; b++) store(p + (row * SIDE + (by_half ? TURNED[b] : b)) * to->point, whole[b]);
            }
        }
    }
}

/* y, x, w, bias (or none), scratch, channels of x, of y, samples, rows, columns, view of x, view of y, strides of w (row of y,
 * channel of x), whether kernels are turned by half, lines of tiles at once.  The pads of x are zero, a row and a column of
 * them before the first element; those of y are left as they come. */
static regrow_status op_winograd(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(22);
    uint64_t channels = w[5], filters = w[6];
    tiling t = tiling_read(w + 7, w[21]);
    view vx = view_read(w + 10), vy = view_read(w + 14);
    extent4 made = {t.samples, w[6], t.rows, t.columns};
    if (!channels || !filters || !t.samples || !t.rows || !t.columns || !t.lines || !tiles_fit(&t, &vy)) return REGROW_E_WORDS;
    uint64_t tiles = times(t.lines, t.across);
    points values = points_of(tiles, channels), sums = points_of(tiles, filters), weights = points_of(channels, filters);
    uint64_t need = plus(plus(points_floats(&values), points_floats(&sums)), points_floats(&weights));
    const float *x = tiles_of(m, w[1], &vx, &t, channels);
    if (!x) return REGROW_E_BOUNDS;
    TAKE(float, y, w[0], view_extent(&vy, &made));
    TAKE(const float, weight, w[2], plus(plus(times(filters - 1, w[18]), times(channels - 1, w[19])), KERNEL));
    TAKE_MAYBE(const float, bias, w[3], filters);
    TAKE(float, scratch, w[4], plus(need, turning_floats(&t, vx.row > vy.row ? vx.row : vy.row)));
    values.at = scratch;
    sums.at = values.at + points_floats(&values);
    weights.at = sums.at + points_floats(&sums);
    float *turned = weights.at + points_floats(&weights);
    size_t all = (size_t)weights.tile;
    weights_to_points(weight, w[18], w[19], w[5], w[6], w[20] != 0, &weights);
    for (size_t line = 0, end = t.samples * t.down, lines; line < end; line += lines) {
        lines = end - line < t.lines ? end - line : t.lines;
        values_to_points(&t, line, lines, x, &vx, w[5], turned, &values);
        for (size_t k = 0; k < POINTS; k++)
            for (size_t f = 0; f < all; f += PANEL) {
                size_t width = all - f < PANEL ? all - f : PANEL;
                product p = {lines * t.across, w[5], width, (size_t)values.tile, 1, width, 1, all, 0};
                by_rows(&p, values.at + k * values.point, weights.at + k * weights.point + f * w[5], NULL, sums.at + k * sums.point + f);
            }
        points_to_results(&t, line, lines, &sums, w[6], bias, turned, y, &vy);
    }
    return REGROW_OK;
}

/* dw (whole), dy, x, scratch, channels of x, of dy, samples, rows, columns, view of x, view of dy, lines of tiles at once.
 * The pads of both are zero. */
static regrow_status op_winograd_dw(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(18);
    uint64_t channels = w[4], filters = w[5];
    tiling t = tiling_read(w + 6, w[17]);
    view vx = view_read(w + 9), vy = view_read(w + 13);
    if (!channels || !filters || !t.samples || !t.rows || !t.columns || !t.lines) return REGROW_E_WORDS;
    uint64_t tiles = times(t.lines, t.across);
    points values = points_of(tiles, channels), above = points_of(tiles, filters), sums = points_of(filters, channels);
    uint64_t need = plus(plus(points_floats(&values), points_floats(&above)), points_floats(&sums));
    const float *dy = tiles_of(m, w[1], &vy, &t, filters), *x = tiles_of(m, w[2], &vx, &t, channels);
    if (!x || !dy) return REGROW_E_BOUNDS;
    TAKE(float, g, w[0], times(times(filters, channels), KERNEL));
    TAKE(float, scratch, w[3], plus(need, turning_floats(&t, vx.row > vy.row ? vx.row : vy.row)));
    values.at = scratch;
    above.at = values.at + points_floats(&values);
    sums.at = above.at + points_floats(&above);
    float *turned = sums.at + points_floats(&sums);
    size_t all = (size_t)sums.tile;
    for (size_t line = 0, end = t.samples * t.down, lines; line < end; line += lines) {
        lines = end - line < t.lines ? end - line : t.lines;
        values_to_points(&t, line, lines, x, &vx, w[4], turned, &values);
        gradients_to_points(&t, line, lines, dy, &vy, w[5], turned, &above);
        product p = {w[5], lines * t.across, all, 1, (size_t)above.tile, all, 1, all, line > 0};
        for (size_t k = 0; k < POINTS; k++)
            by_rows(&p, above.at + k * above.point, values.at + k * values.point, NULL, sums.at + k * sums.point);
    }
    for (size_t f = 0; f < w[5]; f++)
        for (size_t c = 0; c < w[4]; c += VW) {
            const float *p = sums.at + f * all + c;
            vf q[POINTS], half[3][SIDE], k[KERNEL];
            UNROLL for (size_t i = 0; i < POINTS; i++) q[i] = load(p + i * sums.point);
            UNROLL for (int b = 0; b < SIDE; b++) points_weights(q + b, SIDE, &half[0][b], &half[1][b], &half[2][b]);
            UNROLL for (int a = 0; a < 3; a++) points_weights(half[a], 1, &k[3 * a], &k[3 * a + 1], &k[3 * a + 2]);
            kernels_store(k, g + (f * w[4] + c) * KERNEL, w[4] - c);
        }
    return REGROW_OK;
}
