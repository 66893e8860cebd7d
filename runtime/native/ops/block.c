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

/* The gradient d behind an activation of v. */
INLINE vf slide(vf v, vf d, float slope)
{
    mask up = above(v, (vf){0});
    return slope == 0.0f ? only(up, d) : pick_lanes(up, d, d * slope);
}

/* Columns outside, rows inside: the mask of a row's end is the same for all rows. */
#define EACH_ROW(size, i, s, r)                                  \
    for (size_t i = 0; i < (size).columns; i += VW)              \
        for (size_t s = 0; s < (size).samples; s++)              \
            for (size_t r = 0; r < (size).rows; r++)

INLINE size_t beyond(size_t size, size_t at_) { return size > at_ ? size - at_ : 0; }

/* Sums of z - from and of its square over one channel; four rows at a time hide the latency of the additions. */
static void plane_sums(const float *z, const view *v, const extent4 *e, float from, float *plain, float *squared)
{
    vf s[4] = {splat(0), splat(0), splat(0), splat(0)}, q[4] = {splat(0), splat(0), splat(0), splat(0)};
    size_t rows = e->rows, row = v->row;
    for (size_t i = 0; i < e->columns; i += VW) {
        size_t left = e->columns - i;
        mask keep = lanes(left);
        for (size_t n = 0; n < e->samples; n++) {
            const float *at_row = z + n * v->sample + i;
            size_t r = 0;
            for (; r + 4 <= rows; r += 4, at_row += 4 * row)
                UNROLL for (size_t k = 0; k < 4; k++) {
                    vf d = only(keep, load_some(at_row + k * row, left) - from);
                    s[k] += d;
                    q[k] += d * d;
                }
            for (; r < rows; r++, at_row += row) {
                vf d = only(keep, load_some(at_row, left) - from);
                s[0] += d;
                q[0] += d * d;
            }
        }
    }
    *plain = sum_lanes((s[0] + s[1]) + (s[2] + s[3]));
    *squared = sum_lanes((q[0] + q[1]) + (q[2] + q[3]));
}

/* Mean and variance in one pass, around the first value; again around the mean where that was far from it, since the
 * difference of two large numbers would hold few digits of a small one. */
static void plane_moments(const float *z, const view *v, const extent4 *e, float count, float *mean, float *variance)
{
    float from = z[0], plain, squared;
    for (int again = 0; ; again++) {
        plane_sums(z, v, e, from, &plain, &squared);
        float off = plain / count, found = squared / count - off * off;
        *mean = from + off;
        *variance = found < 0 ? 0 : found;
        if (again || off * off <= 4 * found) return;
        from = *mean;
    }
}

/* One channel of z to one of y. `width` may take in the pads of a row, which are then stored with it, as zeros. Pooling looks at z: the affine part keeps the order, or turns it round. */
static void block_plane(const affine *to, const float *z, const view *vz, float *y, const view *vy, const extent4 *out, int pooled, size_t width)
{
    affine a = *to;
    float turn = a.scale < 0 ? -1.0f : 1.0f;
    size_t columns = out->columns, rows = out->rows, z_row = vz->row, y_row = vy->row;
    for (size_t i = 0; i < width; i += VW) {
        size_t left = beyond(columns, i), more = beyond(2 * left, VW);
        mask keep = lanes(left);
        for (size_t s = 0; s < out->samples; s++) {
            const float *z0 = z + s * vz->sample + (pooled ? 2 * i : i);
            float *to_y = y + s * vy->sample + i;
            for (size_t r = 0; r < rows; r++, to_y += y_row) {
                vf v;
                if (pooled) {
                    const float *z1 = z0 + z_row;
                    vf m0 = larger(load_some(z0, 2 * left) * turn, load_some(z1, 2 * left) * turn), m1 = m0;
                    if (more) m1 = larger(load_some(z0 + VW, more) * turn, load_some(z1 + VW, more) * turn);
                    v = larger(EVEN(m0, m1), ODD(m0, m1)) * turn;
                    z0 += 2 * z_row;
                } else {
                    v = load_some(z0, left);
                    z0 += z_row;
                }
                store_some(to_y, only(keep, activate(apply(&a, v), a.slope)), width - i);
            }
        }
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
    if (count == 0) return REGROW_E_WORDS; /* nothing has no mean */
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
        float variance = 0;
        if (j->norm == NORM_GIVEN) {
            a.mean = j->mean[c];
            variance = j->var[c];
        } else plane_moments(zc, &j->z_view, &j->size, j->count, &a.mean, &variance);
        if (j->norm == NORM_BATCH && j->mean) j->mean[c] = a.mean;
        if (j->norm == NORM_BATCH && j->var) j->var[c] = variance;
        a.scale = (j->gamma ? j->gamma[c] : 1) / sqrtf(variance + j->eps);
        a.shift = j->beta ? j->beta[c] : 0;
    }
    block_plane(&a, zc, &j->z_view, yc, &j->y_view, &j->out, j->pooled != 0, j->on_grid ? j->y_view.row : j->out.columns);
    if (j->on_grid) scrub_below(yc, &j->y_view, &j->out);
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

/* The first of the largest z wins; of the smallest, where the affine part turns the order round. */
INLINE quad quad_of(const affine *a, const rows_pair *p)
{
    quad q;
    float turn = a->scale < 0 ? -1.0f : 1.0f;
    q.z[0] = EVEN(p->top, p->top_more);
    q.z[1] = ODD(p->top, p->top_more);
    q.z[2] = EVEN(p->low, p->low_more);
    q.z[3] = ODD(p->low, p->low_more);
    vf best = q.z[0] * turn, v1 = q.z[1] * turn, v2 = q.z[2] * turn, v3 = q.z[3] * turn;
    if (a->scale == 0) v1 = v2 = v3 = best; /* all are equal then */
    q.second = above(v1, best);
    best = pick_lanes(q.second, v1, best);
    q.third = above(v2, best);
    best = pick_lanes(q.third, v2, best);
    q.fourth = above(v3, best);
    q.where = pick_lanes(q.fourth, v3, best) * turn;
    q.value = apply(a, q.where);
    return q;
}

typedef struct {
    extent4 z_size, y_size;
    view z, dy, dz, y;
    int pooled;
    size_t width; /* of a row of dz: its pads are stored with it, as zeros */
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
        d = slide(value, d, a->slope);
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
        vf d = slide(v, load_some(dy + s * b->dy.sample + r * b->dy.row + i, left), a->slope);
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

INLINE vf back_level(const affine *a, const spread *p, vf z) { return (z - a->mean) * p->tilt + p->level; }

/* Rows from `first` on of every sample, each on its own; without dy nothing comes from above. A row is loaded before
 * the one above it is stored (see back_pairs). */
static vf back_rows(const back *b, const affine *a, const spread *p, const float *z, const float *dy, float *dz, size_t first)
{
    vf sum = {0};
    view vz = b->z, vg = b->dy, vd = b->dz;
    affine af = *a;
    spread sp = *p;
    size_t rows = b->z_size.rows;
    for (size_t i = 0; i < b->width; i += VW) {
        size_t left = beyond(b->z_size.columns, i);
        mask keep = lanes(left);
        for (size_t s = 0; s < b->z_size.samples && first < rows; s++) {
            const float *zs = z + s * vz.sample + i;
            vf ahead = load_some(zs + first * vz.row, left);
            for (size_t r = first; r < rows; r++) {
                vf zi = ahead, d = {0};
                if (r + 1 < rows) ahead = load_some(zs + (r + 1) * vz.row, left);
                if (dy) d = slide(apply(&af, zi), load_some(dy + s * vg.sample + r * vg.row + i, left), af.slope);
                vf out = only(keep, d * af.scale + back_level(&af, &sp, zi));
                store_some(dz + s * vd.sample + r * vd.row + i, out, b->width - i);
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
    for (size_t i = 0; 2 * i < b->width; i += VW) {
        size_t left = beyond(columns, 2 * i), more = beyond(left, VW), wide = b->width - 2 * i, above_left = beyond(columns / 2, i);
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
                vf d = slide(q.value, load_some(gs + r * vg.row, above_left), af.slope) * af.scale;
                vf g3 = only(q.fourth, d), rest = except(q.fourth, d);
                vf g2 = only(q.third, rest);
                rest = except(q.third, rest);
                vf o0 = back_level(&af, &sp, q.z[0]) + except(q.second, rest), o1 = back_level(&af, &sp, q.z[1]) + only(q.second, rest);
                vf o2 = back_level(&af, &sp, q.z[2]) + g2, o3 = back_level(&af, &sp, q.z[3]) + g3;
                vf top = only(keep, MIX_LOW(o0, o1)), low = only(keep, MIX_LOW(o2, o3));
                store_some(to, top, wide);
                store_some(below, low, wide);
                sum += top + low;
                if (wide > VW) {
                    top = only(keep_more, MIX_HIGH(o0, o1));
                    low = only(keep_more, MIX_HIGH(o2, o3));
                    store_some(to + VW, top, wide - VW);
                    store_some(below + VW, low, wide - VW);
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
 * (or none), its view.  So many `planes` and `samples` of z and dz are there, or all where 0. */
static regrow_status back_prepare(const machine *m, const uint32_t *w, uint32_t n, size_t planes, size_t samples, back_job *job)
{
    WORDS(36);
    back b = {extent_read(w + 14), extent_read(w + 14), view_read(w + 18), view_read(w + 22), view_read(w + 26),
              view_read(w + 32), w[12] != 0, 0};
    extent4 held = b.z_size;
    size_t channels = b.z_size.channels;
    b.width = w[30] ? b.dz.row : b.z_size.columns;
    if (planes) held.channels = planes;
    if (samples) held.samples = samples;
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

static affine back_affine(const back_job *j, size_t c, float *rstd)
{
    affine a = {0, 1, 0, j->slope};
    *rstd = 1;
    if (j->norm != NORM_NONE) {
        *rstd = 1 / sqrtf(j->var[c] + j->eps);
        a.mean = j->mean[c];
        a.scale = (j->gamma ? j->gamma[c] : 1) * *rstd;
        a.shift = j->beta ? j->beta[c] : 0;
    }
    return a;
}

/* Whether the normed values can be had back from the output. */
static int back_by_output(const back_job *j, size_t c)
{
    float gamma = j->gamma ? j->gamma[c] : 1, shift = j->beta ? j->beta[c] : 0;
    return fabsf(gamma) > LEAST_GAMMA * fabsf(shift) && fabsf(gamma) > 1e-6f;
}

static spread back_spread(const back_job *j, const affine *a, float rstd, float plain, float along)
{
    spread p = {0, 0};
    if (j->norm == NORM_BATCH) {
        p.level = -a->scale * plain / j->count;
        p.tilt = -a->scale * rstd * rstd * along / j->count;
    }
    return p;
}

/* Channel c, whose z and dz begin at zc and dzc. */
static void back_channel(const back_job *j, size_t c, const float *zc, float *dzc)
{
    const float *gc = j->dy + j->b.dy.first + c * j->b.dy.channel;
    float rstd, plain = 0, along = 0;
    affine a = back_affine(j, c, &rstd);
    if (j->norm == NORM_BATCH || (j->norm != NORM_NONE && (j->dgamma || j->dbeta))) {
        if (j->y && back_by_output(j, c))
            back_sums_of_output(&j->b, &a, j->y + j->b.y.first + c * j->b.y.channel, gc, &plain, &along);
        else back_sums(&j->b, &a, zc, gc, &plain, &along);
        if (j->dgamma) j->dgamma[c] = along * rstd;
        if (j->dbeta) j->dbeta[c] = plain;
    }
    if (!j->dz) return;
    spread p = back_spread(j, &a, rstd, plain, along);
    float sum = back_plane(&j->b, &a, &p, zc, gc, dzc);
    if (j->dsum) j->dsum[c] = sum;
    if (j->on_grid) scrub_below(dzc, &j->b.dz, &j->b.z_size);
}

static regrow_status op_block_back(const machine *m, const uint32_t *w, uint32_t n)
{
    back_job job;
    regrow_status status = back_prepare(m, w, n, 0, 0, &job);
    if (status != REGROW_OK) return status;
    for (size_t c = 0; c < job.b.z_size.channels; c++)
        back_channel(&job, c, job.z + job.b.z.first + c * job.b.z.channel,
                     job.dz ? job.dz + job.b.dz.first + c * job.b.dz.channel : NULL);
    return REGROW_OK;
}
