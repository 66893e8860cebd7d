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
    return pick_lanes(above(v, (vf){0}), v, low);
}

INLINE vf slope_of(vf v, float slope) { return pick_lanes(above(v, (vf){0}), splat(1.0f), splat(slope)); }

/* Columns outside, rows inside: the mask of a row's end is the same for all rows. */
#define EACH_ROW(size, i, s, r)                                  \
    for (size_t i = 0; i < (size).columns; i += VW)              \
        for (size_t s = 0; s < (size).samples; s++)              \
            for (size_t r = 0; r < (size).rows; r++)

/* Sum of z, or of (z - mean)^2, over one channel; four rows at a time hide the latency of the additions. */
static float plane_sum(const float *z, const view *v, const extent4 *e, float mean, int squared)
{
    vf s[4] = {splat(0), splat(0), splat(0), splat(0)};
    for (size_t i = 0; i < e->columns; i += VW) {
        size_t left = e->columns - i;
        mask keep = lanes(left);
        for (size_t n = 0; n < e->samples; n++) {
            const float *row = z + n * v->sample + i;
            size_t r = 0;
            for (; r + 4 <= e->rows; r += 4, row += 4 * v->row)
                UNROLL for (size_t k = 0; k < 4; k++) {
                    vf d = load_some(row + k * v->row, left);
                    if (squared) {
                        d = only(keep, d - mean);
                        s[k] += d * d;
                    } else s[k] += d;
                }
            for (; r < e->rows; r++, row += v->row) {
                vf d = load_some(row, left);
                if (squared) {
                    d = only(keep, d - mean);
                    s[0] += d * d;
                } else s[0] += d;
            }
        }
    }
    return sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

INLINE size_t beyond(size_t size, size_t at_) { return size > at_ ? size - at_ : 0; }

/* One channel of z to one of y. */
static void block_plane(const affine *a, const float *z, const view *vz, float *y, const view *vy, const extent4 *out, int pooled)
{
    if (!pooled) {
        EACH_ROW(*out, i, s, r) {
            size_t left = out->columns - i;
            vf v = apply(a, load_some(z + s * vz->sample + r * vz->row + i, left));
            store_some(y + s * vy->sample + r * vy->row + i, activate(v, a->slope), left);
        }
        return;
    }
    EACH_ROW(*out, i, s, r) {
        size_t left = 2 * (out->columns - i), more = beyond(left, VW);
        const float *z0 = z + s * vz->sample + 2 * r * vz->row + 2 * i, *z1 = z0 + vz->row;
        vf m0 = larger(apply(a, load_some(z0, left)), apply(a, load_some(z1, left))), m1 = m0;
        if (more) m1 = larger(apply(a, load_some(z0 + VW, more)), apply(a, load_some(z1 + VW, more)));
        store_some(y + s * vy->sample + r * vy->row + i, activate(larger(EVEN(m0, m1), ODD(m0, m1)), a->slope), out->columns - i);
    }
}

typedef struct {
    extent4 size, out;
    view z_view, y_view;
    uint32_t norm, pooled, on_grid;
    float slope, eps, count;
    const float *z, *gamma, *beta;
    float *y, *mean, *var;
} block_job;

/* y, mean, var (or none; read where given), z, gamma, beta (or none), norm, slope, pooled, eps, extents of z,
 * view of z, view of y, floats of y where its pads must be zero or 0.  `planes` of z are there, or all where 0. */
static regrow_status block_prepare(const machine *m, const uint32_t *w, uint32_t n, size_t planes, block_job *job)
{
    WORDS(23);
    extent4 e = extent_read(w + 10), out = e, held = e;
    view vz = view_read(w + 14), vy = view_read(w + 18);
    if (planes) held.channels = planes;
    if (w[8]) {
        out.rows /= 2;
        out.columns /= 2;
    }
    TAKE(float, y, w[0], view_extent(&vy, &out));
    TAKE_MAYBE(float, mean, w[1], e.channels);
    TAKE_MAYBE(float, var, w[2], e.channels);
    TAKE(const float, z, w[3], view_extent(&vz, &held));
    TAKE_MAYBE(const float, gamma, w[4], e.channels);
    TAKE_MAYBE(const float, beta, w[5], e.channels);
    if (w[6] > NORM_NONE || (w[6] == NORM_GIVEN && (!mean || !var))) return REGROW_E_WORDS;
    if (w[22]) {
        if (!at(m, w[0], w[22], sizeof(float)) || !is_grid(&vy, &out, w[22])) return REGROW_E_BOUNDS;
        scrub_guards(y, &vy, &out, w[22]);
    }
    float count = (float)e.samples * (float)e.rows * (float)e.columns;
    block_job made = {e, out, vz, vy, w[6], w[8], w[22] != 0, as_float(w[7]), as_float(w[9]), count, z, gamma, beta, y, mean, var};
    *job = made;
    return REGROW_OK;
}

/* Channel c, whose z begins at zc. */
static void block_channel(const block_job *j, size_t c, const float *zc)
{
    float *yc = j->y + j->y_view.first + c * j->y_view.channel;
    affine a = {0, 1, 0, j->slope};
    if (j->norm != NORM_NONE) {
        a.mean = j->norm == NORM_GIVEN ? j->mean[c] : plane_sum(zc, &j->z_view, &j->size, 0, 0) / j->count;
        float variance = j->norm == NORM_GIVEN ? j->var[c] : plane_sum(zc, &j->z_view, &j->size, a.mean, 1) / j->count;
        if (j->norm == NORM_BATCH && j->mean) j->mean[c] = a.mean;
        if (j->norm == NORM_BATCH && j->var) j->var[c] = variance;
        a.scale = (j->gamma ? j->gamma[c] : 1) / sqrtf(variance + j->eps);
        a.shift = j->beta ? j->beta[c] : 0;
    }
    block_plane(&a, zc, &j->z_view, yc, &j->y_view, &j->out, j->pooled != 0);
    if (j->on_grid) scrub_plane(yc, &j->y_view, &j->out);
}

static regrow_status op_block(const machine *m, const uint32_t *w, uint32_t n)
{
    block_job job;
    regrow_status status = block_prepare(m, w, n, 0, &job);
    if (status != REGROW_OK) return status;
    for (size_t c = 0; c < job.size.channels; c++) block_channel(&job, c, job.z + job.z_view.first + c * job.z_view.channel);
    return REGROW_OK;
}

/* Of a pair of rows: values before the activation, apart by column, and which of the four wins. */
typedef struct {
    vf z[4], value, where; /* the winner's value and its z */
    mask second, third, fourth;
} quad;

/* Two rows as they lie. */
typedef struct {
    vf top, top_more, low, low_more;
} rows_pair;

INLINE rows_pair pair_load(const float *z0, const float *z1, size_t left)
{
    size_t more = beyond(left, VW);
    rows_pair p = {load_some(z0, left), splat(0), load_some(z1, left), splat(0)};
    if (more) {
        p.top_more = load_some(z0 + VW, more);
        p.low_more = load_some(z1 + VW, more);
    }
    return p;
}

INLINE quad quad_of(const affine *a, const rows_pair *p)
{
    quad q;
    q.z[0] = EVEN(p->top, p->top_more);
    q.z[1] = ODD(p->top, p->top_more);
    q.z[2] = EVEN(p->low, p->low_more);
    q.z[3] = ODD(p->low, p->low_more);
    vf v0 = apply(a, q.z[0]), v1 = apply(a, q.z[1]), v2 = apply(a, q.z[2]), v3 = apply(a, q.z[3]);
    q.second = above(v1, v0);
    v0 = pick_lanes(q.second, v1, v0);
    q.where = pick_lanes(q.second, q.z[1], q.z[0]);
    q.third = above(v2, v0);
    v0 = pick_lanes(q.third, v2, v0);
    q.where = pick_lanes(q.third, q.z[2], q.where);
    q.fourth = above(v3, v0);
    q.value = pick_lanes(q.fourth, v3, v0);
    q.where = pick_lanes(q.fourth, q.z[3], q.where);
    return q;
}

typedef struct {
    extent4 z_size, y_size;
    view z, dy, dz, y;
    int pooled;
} back;

/* Relative to a channel's shift, the least gamma with which the normed value can be had back from the output. */
#define LEAST_GAMMA 0.05f

/* Sums of g and of g * (z - mean), g being the gradient behind the activation. */
static void back_sums(const back *b, const affine *a, const float *z, const float *dy, float *plain, float *along)
{
    vf s0 = {0}, s1 = {0};
    EACH_ROW(b->y_size, i, s, r) {
        size_t left = b->y_size.columns - i;
        const float *row = z + s * b->z.sample + (b->pooled ? 2 * (r * b->z.row + i) : r * b->z.row + i);
        vf d = load_some(dy + s * b->dy.sample + r * b->dy.row + i, left), value, where;
        if (b->pooled) {
            rows_pair rows = pair_load(row, row + b->z.row, 2 * left);
            quad q = quad_of(a, &rows);
            value = q.value;
            where = q.where;
        } else {
            where = load_some(row, left);
            value = apply(a, where);
        }
        d *= slope_of(value, a->slope);
        s0 += d;
        s1 += d * (where - a->mean);
    }
    *plain = sum_lanes(s0);
    *along = sum_lanes(s1);
}

/* The same from the output of the block, a quarter of the reading: its value is that of the winner. */
static void back_sums_of_output(const back *b, const affine *a, const float *y, const float *dy, float *plain, float *along)
{
    vf s0 = {0}, s1 = {0};
    float up = a->slope > 0 ? 1 / a->slope : 0;
    EACH_ROW(b->y_size, i, s, r) {
        size_t left = b->y_size.columns - i;
        vf v = load_some(y + s * b->y.sample + r * b->y.row + i, left);
        vf d = load_some(dy + s * b->dy.sample + r * b->dy.row + i, left) * slope_of(v, a->slope);
        v = pick_lanes(above(v, (vf){0}), v, v * up);
        s0 += d;
        s1 += d * (v - a->shift);
    }
    *plain = sum_lanes(s0);
    *along = sum_lanes(s1) / a->scale;
}

/* dz = g * scale + (z - mean) * tilt + level */
typedef struct {
    float tilt, level;
} spread;

INLINE vf back_value(const affine *a, const spread *p, vf g, vf z) { return g * a->scale + ((z - a->mean) * p->tilt + p->level); }

/* Rows from `first` on of every sample, each on its own; without dy nothing comes from above. A row is loaded before
 * the one above it is stored (see back_pairs). */
static vf back_rows(const back *b, const affine *a, const spread *p, const float *z, const float *dy, float *dz, size_t first)
{
    vf sum = {0};
    view vz = b->z, vg = b->dy, vd = b->dz;
    affine af = *a;
    spread sp = *p;
    size_t rows = b->z_size.rows;
    for (size_t i = 0; i < b->z_size.columns; i += VW) {
        size_t left = b->z_size.columns - i;
        mask keep = lanes(left);
        for (size_t s = 0; s < b->z_size.samples && first < rows; s++) {
            const float *zs = z + s * vz.sample + i;
            vf ahead = load_some(zs + first * vz.row, left);
            for (size_t r = first; r < rows; r++) {
                vf zi = ahead, d = {0};
                if (r + 1 < rows) ahead = load_some(zs + (r + 1) * vz.row, left);
                if (dy) d = load_some(dy + s * vg.sample + r * vg.row + i, left) * slope_of(apply(&af, zi), af.slope);
                vf out = only(keep, back_value(&af, &sp, d, zi));
                store_some(dz + s * vd.sample + r * vd.row + i, out, left);
                sum += out;
            }
        }
    }
    return sum;
}

/* Pairs of rows: what comes from above goes to the winner of each window. */
static vf back_pairs(const back *b, const affine *a, const spread *p, const float *z, const float *dy, float *dz)
{
    vf sum = {0};
    /* Copies: what is stored to dz might else be these. */
    view vz = b->z, vg = b->dy, vd = b->dz;
    affine af = *a;
    spread sp = *p;
    size_t columns = b->z_size.columns, rows = b->y_size.rows;
    for (size_t i = 0; 2 * i < columns; i += VW) {
        size_t left = columns - 2 * i, more = beyond(left, VW), above_left = beyond(columns / 2, i);
        mask keep = lanes(left), keep_more = lanes(more);
        for (size_t s = 0; s < b->y_size.samples && rows; s++) {
            const float *zs = z + s * vz.sample + 2 * i, *gs = dy + s * vg.sample + i;
            float *ds = dz + s * vd.sample + 2 * i;
            /* A pair is loaded before the one above is stored: where dz is z, the lanes that store leaves out would
             * reach into it and hold the load up. */
            rows_pair ahead = pair_load(zs, zs + vz.row, left);
            for (size_t r = 0; r < rows; r++) {
                const float *z0 = zs + 2 * (r + 1) * vz.row;
                float *to = ds + 2 * r * vd.row, *below = to + vd.row;
                rows_pair here = ahead;
                if (r + 1 < rows) ahead = pair_load(z0, z0 + vz.row, left);
                quad q = quad_of(&af, &here);
                vf d = load_some(gs + r * vg.row, above_left) * slope_of(q.value, af.slope);
                vf g3 = only(q.fourth, d), rest = except(q.fourth, d);
                vf g2 = only(q.third, rest);
                rest = except(q.third, rest);
                vf o0 = back_value(&af, &sp, except(q.second, rest), q.z[0]), o1 = back_value(&af, &sp, only(q.second, rest), q.z[1]);
                vf o2 = back_value(&af, &sp, g2, q.z[2]), o3 = back_value(&af, &sp, g3, q.z[3]);
                vf top = only(keep, MIX_LOW(o0, o1)), low = only(keep, MIX_LOW(o2, o3));
                store_some(to, top, left);
                store_some(below, low, left);
                sum += top + low;
                if (more) {
                    top = only(keep_more, MIX_HIGH(o0, o1));
                    low = only(keep_more, MIX_HIGH(o2, o3));
                    store_some(to + VW, top, more);
                    store_some(below + VW, low, more);
                    sum += top + low;
                }
            }
        }
    }
    return sum;
}

static float back_plane(const back *b, const affine *a, const spread *p, const float *z, const float *dy, float *dz)
{
    if (!b->pooled) return sum_lanes(back_rows(b, a, p, z, dy, dz, 0));
    vf sum = back_pairs(b, a, p, z, dy, dz);
    if (2 * b->y_size.rows < b->z_size.rows) sum += back_rows(b, a, p, z, NULL, dz, 2 * b->y_size.rows);
    return sum_lanes(sum);
}

typedef struct {
    back b;
    uint32_t norm, on_grid;
    float slope, eps, count;
    const float *dy, *z, *gamma, *beta, *mean, *var, *y;
    float *dz, *dgamma, *dbeta, *dsum;
} back_job;

/* dz, dgamma, dbeta, sum of dz per channel (each or none), dy, z, gamma, beta, mean, var (or none), norm, slope,
 * pooled, eps, extents of z, view of z, of dy, of dz, floats of dz where its pads must be zero or 0, the output y
 * (or none), its view.  `planes` of z and dz are there, or all where 0. */
static regrow_status back_prepare(const machine *m, const uint32_t *w, uint32_t n, size_t planes, back_job *job)
{
    WORDS(36);
    back b = {extent_read(w + 14), extent_read(w + 14), view_read(w + 18), view_read(w + 22), view_read(w + 26),
              view_read(w + 32), w[12] != 0};
    extent4 held = b.z_size;
    size_t channels = b.z_size.channels;
    if (planes) held.channels = planes;
    if (b.pooled) {
        b.y_size.rows /= 2;
        b.y_size.columns /= 2;
    }
    TAKE_MAYBE(float, dz, w[0], view_extent(&b.dz, &held));
    TAKE_MAYBE(float, dgamma, w[1], channels);
    TAKE_MAYBE(float, dbeta, w[2], channels);
    TAKE_MAYBE(float, dsum, w[3], channels);
    TAKE(const float, dy, w[4], view_extent(&b.dy, &b.y_size));
    TAKE(const float, z, w[5], view_extent(&b.z, &held));
    TAKE_MAYBE(const float, gamma, w[6], channels);
    TAKE_MAYBE(const float, beta, w[7], channels);
    TAKE_MAYBE(const float, mean, w[8], channels);
    TAKE_MAYBE(const float, var, w[9], channels);
    TAKE_MAYBE(const float, y, w[31], view_extent(&b.y, &b.y_size));
    if (w[10] > NORM_NONE || (w[10] != NORM_NONE && (!mean || !var)) || (dsum && !dz)) return REGROW_E_WORDS;
    if (dz && w[30]) {
        if (!at(m, w[0], w[30], sizeof(float)) || !is_grid(&b.dz, &held, w[30])) return REGROW_E_BOUNDS;
        scrub_guards(dz, &b.dz, &held, w[30]);
    }
    float count = (float)b.z_size.samples * (float)b.z_size.rows * (float)b.z_size.columns;
    back_job made = {b,    w[10], w[30] != 0, as_float(w[11]), as_float(w[13]), count,  dy,    z,   gamma,
                     beta, mean,  var,        y,               dz,              dgamma, dbeta, dsum};
    *job = made;
    return REGROW_OK;
}

/* Channel c, whose z and dz begin at zc and dzc. */
static void back_channel(const back_job *j, size_t c, const float *zc, float *dzc)
{
    const float *gc = j->dy + j->b.dy.first + c * j->b.dy.channel;
    affine a = {0, 1, 0, j->slope};
    spread p = {0, 0};
    if (j->norm != NORM_NONE) {
        float rstd = 1 / sqrtf(j->var[c] + j->eps), plain = 0, along = 0, gamma = j->gamma ? j->gamma[c] : 1;
        a.mean = j->mean[c];
        a.scale = gamma * rstd;
        a.shift = j->beta ? j->beta[c] : 0;
        if (j->dgamma || j->dbeta || j->norm == NORM_BATCH) {
            if (j->y && fabsf(gamma) > LEAST_GAMMA * fabsf(a.shift) && fabsf(gamma) > 1e-6f)
                back_sums_of_output(&j->b, &a, j->y + j->b.y.first + c * j->b.y.channel, gc, &plain, &along);
            else back_sums(&j->b, &a, zc, gc, &plain, &along);
        }
        if (j->dgamma) j->dgamma[c] = along * rstd;
        if (j->dbeta) j->dbeta[c] = plain;
        if (j->norm == NORM_BATCH) {
            p.level = -a.scale * plain / j->count;
            p.tilt = -a.scale * rstd * rstd * along / j->count;
        }
    }
    if (!j->dz) return;
    float sum = back_plane(&j->b, &a, &p, zc, gc, dzc);
    if (j->dsum) j->dsum[c] = sum;
    if (j->on_grid) scrub_plane(dzc, &j->b.dz, &j->b.z_size);
}

static regrow_status op_block_back(const machine *m, const uint32_t *w, uint32_t n)
{
    back_job job;
    regrow_status status = back_prepare(m, w, n, 0, &job);
    if (status != REGROW_OK) return status;
    for (size_t c = 0; c < job.b.z_size.channels; c++)
        back_channel(&job, c, job.z + job.b.z.first + c * job.b.z.channel,
                     job.dz ? job.dz + job.b.dz.first + c * job.b.dz.channel : NULL);
    return REGROW_OK;
}
