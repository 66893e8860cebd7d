/* block.c - what follows a convolution, a channel at a time: batch norm, a ReLU with any slope, 2x2 max-pooling.
 *
 * Forward: y = pool(act(gamma * (z - mean) * rstd + beta)). Only z is kept; backward makes everything else again.
 * A slope of 1 is no activation, of 0 a ReLU; without a norm the affine part is the identity. */

enum { NORM_BATCH, NORM_GIVEN, NORM_NONE };

typedef struct {
    float mean, scale, shift; /* of the affine part */
    float slope;
} affine;

INLINE vf apply(const affine *a, vf z) { return (z - a->mean) * a->scale + a->shift; }

INLINE vf activate(vf v, float slope)
{
    vf low = slope == 0.0f ? (vf){0} : v * slope;
    return pick_lanes((vi)(v > 0.0f), v, low);
}

INLINE vf slope_of(vf v, float slope) { return pick_lanes((vi)(v > 0.0f), splat(1.0f), splat(slope)); }

/* Sum of z, or of (z - mean)^2, over one channel; four rows at a time hide the latency of the additions. */
static float plane_sum(const float *z, const view *v, const extent4 *e, float mean, int squared)
{
    vf s[4] = {{0}, {0}, {0}, {0}};
    for (size_t n = 0; n < e->samples; n++)
        for (size_t r = 0; r < e->rows; r += 4) {
            size_t some = e->rows - r < 4 ? e->rows - r : 4;
            const float *row = z + n * v->sample + r * v->row;
            for (size_t i = 0; i < e->columns; i += VW) {
                vi keep = lanes(e->columns - i);
                for (size_t k = 0; k < some; k++) {
                    vf d = load_some(row + k * v->row + i, e->columns - i);
                    if (squared) {
                        d = only(keep, d - mean);
                        s[k] += d * d;
                    } else s[k] += d;
                }
            }
        }
    return sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

INLINE size_t beyond(size_t size, size_t at_) { return size > at_ ? size - at_ : 0; }

static void block_row(const affine *a, const float *z, float *y, size_t columns)
{
    for (size_t i = 0; i < columns; i += VW)
        store_some(y + i, activate(apply(a, load_some(z + i, columns - i)), a->slope), columns - i);
}

/* Two rows of z to one of y; `columns` of y. */
static void block_row_pooled(const affine *a, const float *z0, const float *z1, float *y, size_t columns)
{
    for (size_t i = 0; i < columns; i += VW) {
        size_t left = 2 * (columns - i);
        vf p0 = apply(a, load_some(z0 + 2 * i, left)), q0 = apply(a, load_some(z1 + 2 * i, left));
        vf m0 = larger(p0, q0), m1 = m0;
        if (left > VW) {
            vf p1 = apply(a, load_some(z0 + 2 * i + VW, left - VW)), q1 = apply(a, load_some(z1 + 2 * i + VW, left - VW));
            m1 = larger(p1, q1);
        }
        store_some(y + i, activate(larger(EVEN(m0, m1), ODD(m0, m1)), a->slope), columns - i);
    }
}

/* y, mean, var (or none; read where given), z, gamma, beta (or none), norm, slope, pooled, eps, extents of z,
 * view of z, view of y, floats of y where its pads must be zero or 0. */
static regrow_status op_block(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(23);
    extent4 e = extent_read(w + 10), out = e;
    view vz = view_read(w + 14), vy = view_read(w + 18);
    uint32_t norm = w[6], pooled = w[8];
    if (pooled) {
        out.rows /= 2;
        out.columns /= 2;
    }
    TAKE(float, y, w[0], view_extent(&vy, &out));
    TAKE_MAYBE(float, mean, w[1], e.channels);
    TAKE_MAYBE(float, var, w[2], e.channels);
    TAKE(const float, z, w[3], view_extent(&vz, &e));
    TAKE_MAYBE(const float, gamma, w[4], e.channels);
    TAKE_MAYBE(const float, beta, w[5], e.channels);
    if (norm > NORM_NONE || (norm == NORM_GIVEN && (!mean || !var))) return REGROW_E_WORDS;
    if (w[22]) {
        if (!at(m, w[0], w[22], sizeof(float)) || !is_grid(&vy, &out, w[22])) return REGROW_E_BOUNDS;
        scrub_around(y, &vy, &out, w[22]);
    }
    float count = (float)e.samples * (float)e.rows * (float)e.columns, eps = as_float(w[9]);
    for (size_t c = 0; c < e.channels; c++) {
        const float *zc = z + vz.first + c * vz.channel;
        float *yc = y + vy.first + c * vy.channel;
        affine a = {0, 1, 0, as_float(w[7])};
        if (norm != NORM_NONE) {
            a.mean = norm == NORM_GIVEN ? mean[c] : plane_sum(zc, &vz, &e, 0, 0) / count;
            float variance = norm == NORM_GIVEN ? var[c] : plane_sum(zc, &vz, &e, a.mean, 1) / count;
            if (norm == NORM_BATCH && mean) mean[c] = a.mean;
            if (norm == NORM_BATCH && var) var[c] = variance;
            a.scale = (gamma ? gamma[c] : 1) / sqrtf(variance + eps);
            a.shift = beta ? beta[c] : 0;
        }
        for (size_t s = 0; s < e.samples; s++)
            for (size_t r = 0; r < out.rows; r++) {
                const float *row = zc + s * vz.sample + (pooled ? 2 * r : r) * vz.row;
                float *to = yc + s * vy.sample + r * vy.row;
                if (pooled) block_row_pooled(&a, row, row + vz.row, to, out.columns);
                else block_row(&a, row, to, out.columns);
            }
    }
    return REGROW_OK;
}

/* Of a pair of rows: values before the activation, apart by column, and which of the four wins. */
typedef struct {
    vf z[4], value, where; /* the winner's value and its z */
    vi second, third, fourth;
} quad;

INLINE quad quad_of(const affine *a, const float *z0, const float *z1, size_t left)
{
    quad q;
    size_t more = beyond(left, VW);
    vf u0 = load_some(z0, left), u1 = more ? load_some(z0 + VW, more) : (vf){0};
    vf w0 = load_some(z1, left), w1 = more ? load_some(z1 + VW, more) : (vf){0};
    q.z[0] = EVEN(u0, u1);
    q.z[1] = ODD(u0, u1);
    q.z[2] = EVEN(w0, w1);
    q.z[3] = ODD(w0, w1);
    vf v0 = apply(a, q.z[0]), v1 = apply(a, q.z[1]), v2 = apply(a, q.z[2]), v3 = apply(a, q.z[3]);
    q.second = (vi)(v1 > v0);
    v0 = pick_lanes(q.second, v1, v0);
    q.where = pick_lanes(q.second, q.z[1], q.z[0]);
    q.third = (vi)(v2 > v0);
    v0 = pick_lanes(q.third, v2, v0);
    q.where = pick_lanes(q.third, q.z[2], q.where);
    q.fourth = (vi)(v3 > v0);
    q.value = pick_lanes(q.fourth, v3, v0);
    q.where = pick_lanes(q.fourth, q.z[3], q.where);
    return q;
}

typedef struct {
    extent4 z_size, y_size;
    view z, dy, dz;
    int pooled;
} back;

/* Sums of g and of g * (z - mean), g being the gradient behind the activation. */
static void back_sums(const back *b, const affine *a, const float *z, const float *dy, float *plain, float *along)
{
    vf s0 = {0}, s1 = {0};
    for (size_t s = 0; s < b->y_size.samples; s++)
        for (size_t r = 0; r < b->y_size.rows; r++) {
            const float *g = dy + s * b->dy.sample + r * b->dy.row;
            const float *row = z + s * b->z.sample + (b->pooled ? 2 * r : r) * b->z.row;
            for (size_t i = 0; i < b->y_size.columns; i += VW) {
                size_t left = b->y_size.columns - i;
                vf d = load_some(g + i, left), value, where;
                if (b->pooled) {
                    quad q = quad_of(a, row + 2 * i, row + b->z.row + 2 * i, 2 * left);
                    value = q.value;
                    where = q.where;
                } else {
                    where = load_some(row + i, left);
                    value = apply(a, where);
                }
                d *= slope_of(value, a->slope);
                s0 += d;
                s1 += d * (where - a->mean);
            }
        }
    *plain = sum_lanes(s0);
    *along = sum_lanes(s1);
}

/* dz = g * scale + (z - mean) * tilt + level */
typedef struct {
    float tilt, level;
} spread;

INLINE vf back_value(const affine *a, const spread *p, vf g, vf z) { return g * a->scale + ((z - a->mean) * p->tilt + p->level); }

static vf back_row(const affine *a, const spread *p, const float *g, const float *z, float *dz, size_t columns)
{
    vf sum = {0};
    for (size_t i = 0; i < columns; i += VW) {
        size_t left = columns - i;
        vf zi = load_some(z + i, left), d = g ? load_some(g + i, left) * slope_of(apply(a, zi), a->slope) : (vf){0};
        vf out = only(lanes(left), back_value(a, p, d, zi));
        store_some(dz + i, out, left);
        sum += out;
    }
    return sum;
}

static vf back_rows_pooled(const affine *a, const spread *p, const float *g, const float *z, size_t z_row, float *dz, size_t dz_row,
                           size_t columns)
{
    vf sum = {0};
    for (size_t i = 0; 2 * i < columns; i += VW) {
        size_t left = columns - 2 * i, more = beyond(left, VW);
        quad q = quad_of(a, z + 2 * i, z + z_row + 2 * i, left);
        vf d = load_some(g + i, beyond(columns / 2, i)) * slope_of(q.value, a->slope);
        vf g3 = only(q.fourth, d), rest = only(~q.fourth, d);
        vf g2 = only(q.third, rest);
        rest = only(~q.third, rest);
        vf o0 = back_value(a, p, only(~q.second, rest), q.z[0]), o1 = back_value(a, p, only(q.second, rest), q.z[1]);
        vf o2 = back_value(a, p, g2, q.z[2]), o3 = back_value(a, p, g3, q.z[3]);
        vi keep = lanes(left), keep_more = lanes(more);
        vf top = only(keep, MIX_LOW(o0, o1)), low = only(keep, MIX_LOW(o2, o3));
        store_some(dz + 2 * i, top, left);
        store_some(dz + dz_row + 2 * i, low, left);
        sum += top + low;
        if (more) {
            top = only(keep_more, MIX_HIGH(o0, o1));
            low = only(keep_more, MIX_HIGH(o2, o3));
            store_some(dz + 2 * i + VW, top, more);
            store_some(dz + dz_row + 2 * i + VW, low, more);
            sum += top + low;
        }
    }
    return sum;
}

static float back_plane(const back *b, const affine *a, const spread *p, const float *z, const float *dy, float *dz)
{
    vf sum = {0};
    for (size_t s = 0; s < b->z_size.samples; s++) {
        const float *zs = z + s * b->z.sample, *gs = dy + s * b->dy.sample;
        float *ds = dz + s * b->dz.sample;
        size_t r = 0;
        if (b->pooled)
            for (; r / 2 < b->y_size.rows; r += 2)
                sum += back_rows_pooled(a, p, gs + r / 2 * b->dy.row, zs + r * b->z.row, b->z.row, ds + r * b->dz.row, b->dz.row,
                                        b->z_size.columns);
        for (; r < b->z_size.rows; r++)
            sum += back_row(a, p, b->pooled ? NULL : gs + r * b->dy.row, zs + r * b->z.row, ds + r * b->dz.row, b->z_size.columns);
    }
    return sum_lanes(sum);
}

/* dz, dgamma, dbeta, sum of dz per channel (each or none), dy, z, gamma, beta, mean, var (or none), norm, slope,
 * pooled, eps, extents of z, view of z, view of dy, view of dz, floats of dz where its pads must be zero or 0. */
static regrow_status op_block_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(31);
    back b = {extent_read(w + 14), extent_read(w + 14), view_read(w + 18), view_read(w + 22), view_read(w + 26), w[12] != 0};
    uint32_t norm = w[10];
    size_t channels = b.z_size.channels;
    if (b.pooled) {
        b.y_size.rows /= 2;
        b.y_size.columns /= 2;
    }
    TAKE_MAYBE(float, dz, w[0], view_extent(&b.dz, &b.z_size));
    TAKE_MAYBE(float, dgamma, w[1], channels);
    TAKE_MAYBE(float, dbeta, w[2], channels);
    TAKE_MAYBE(float, dsum, w[3], channels);
    TAKE(const float, dy, w[4], view_extent(&b.dy, &b.y_size));
    TAKE(const float, z, w[5], view_extent(&b.z, &b.z_size));
    TAKE_MAYBE(const float, gamma, w[6], channels);
    TAKE_MAYBE(const float, beta, w[7], channels);
    TAKE_MAYBE(const float, mean, w[8], channels);
    TAKE_MAYBE(const float, var, w[9], channels);
    if (norm > NORM_NONE || (norm != NORM_NONE && (!mean || !var)) || (dsum && !dz)) return REGROW_E_WORDS;
    if (dz && w[30]) {
        if (!at(m, w[0], w[30], sizeof(float)) || !is_grid(&b.dz, &b.z_size, w[30])) return REGROW_E_BOUNDS;
        scrub_around(dz, &b.dz, &b.z_size, w[30]);
    }
    float count = (float)b.z_size.samples * (float)b.z_size.rows * (float)b.z_size.columns, eps = as_float(w[13]);
    for (size_t c = 0; c < channels; c++) {
        const float *zc = z + b.z.first + c * b.z.channel, *gc = dy + b.dy.first + c * b.dy.channel;
        affine a = {0, 1, 0, as_float(w[11])};
        spread p = {0, 0};
        if (norm != NORM_NONE) {
            float rstd = 1 / sqrtf(var[c] + eps), plain = 0, along = 0;
            a.mean = mean[c];
            a.scale = (gamma ? gamma[c] : 1) * rstd;
            a.shift = beta ? beta[c] : 0;
            if (dgamma || dbeta || norm == NORM_BATCH) back_sums(&b, &a, zc, gc, &plain, &along);
            if (dgamma) dgamma[c] = along * rstd;
            if (dbeta) dbeta[c] = plain;
            if (norm == NORM_BATCH) {
                p.level = -a.scale * plain / count;
                p.tilt = -a.scale * rstd * rstd * along / count;
            }
        }
        if (dz) {
            float sum = back_plane(&b, &a, &p, zc, gc, dz + b.dz.first + c * b.dz.channel);
            if (dsum) dsum[c] = sum;
        }
    }
    return REGROW_OK;
}
