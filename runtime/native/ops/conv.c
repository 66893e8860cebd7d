/* conv.c - convolution, its input gradient and its weight gradient, on planes of one grid.
 *
 * y[o][p] = sum over c, k of w[o][c][k] * x[c][p + tap[k]].  The input gradient is the same sum with the roles of
 * channels exchanged and the taps negated: only strides differ, no weight is moved. A stride of the convolution
 * is in how its input was packed (planar.c). */

#if VW == 16
#define CONV_T 6 /* vectors per row in registers, times four rows */
#else
#define CONV_T 3
#endif
#define CONV_R 4

typedef struct {
    size_t channels, rows, taps;
    size_t x_channel, y_channel;
    size_t w_row, w_channel;
    const uint32_t *tap; /* pairs: offset into x, offset into w */
    int resume;          /* y holds the sums over earlier channels */
} filter;

#define TILE(R, T)                                                                                              \
    static void tile_##R##_##T(const filter *f, const float *x, const float *w, const float *bias, float *y)    \
    {                                                                                                           \
        vf s[R][T];                                                                                             \
        UNROLL for (int r = 0; r < (R); r++) {                                                                  \
            vf first = splat(bias ? bias[r] : 0.0f);                                                            \
            UNROLL for (int t = 0; t < (T); t++)                                                                \
                s[r][t] = f->resume ? load(y + (size_t)r * f->y_channel + t * VW) : first;                      \
        }                                                                                                       \
        for (size_t c = 0; c < f->channels; c++, x += f->x_channel, w += f->w_channel)                          \
            for (size_t k = 0; k < f->taps; k++) {                                                              \
                const float *xk = x + (int32_t)f->tap[2 * k], *wk = w + f->tap[2 * k + 1];                      \
                vf v[T];                                                                                        \
                UNROLL for (int t = 0; t < (T); t++) v[t] = load(xk + t * VW);                                  \
                UNROLL for (int r = 0; r < (R); r++) {                                                          \
                    float u = wk[(size_t)r * f->w_row];                                                         \
                    UNROLL for (int t = 0; t < (T); t++) s[r][t] += u * v[t];                                   \
                }                                                                                               \
            }                                                                                                   \
        UNROLL for (int r = 0; r < (R); r++) {                                                                  \
            UNROLL for (int t = 0; t < (T); t++) store(y + (size_t)r * f->y_channel + t * VW, s[r][t]);         \
        }                                                                                                       \
    }
TILE(4, 1)
TILE(4, 2)
TILE(4, 3)
TILE(1, 1)
TILE(1, 3)
#if CONV_T == 6
TILE(4, 4)
TILE(4, 5)
TILE(4, 6)
TILE(1, 6)
#endif
#undef TILE

/* How many vectors the next tile takes, so that the last ones are not left with a thin one. */
INLINE size_t tile_width(size_t left)
{
#if CONV_T == 6
    if (left <= 6) return left;
    if (left == 7 || left == 8) return 4;
    if (left == 9 || left == 10) return 5;
    return 6;
#else
    return left == 4 ? 2 : left < 3 ? left : 3;
#endif
}

static void tile_four(size_t t, const filter *f, const float *x, const float *w, const float *bias, float *y)
{
    switch (t) {
#if CONV_T == 6
    case 6: tile_4_6(f, x, w, bias, y); return;
    case 5: tile_4_5(f, x, w, bias, y); return;
    case 4: tile_4_4(f, x, w, bias, y); return;
#endif
    case 3: tile_4_3(f, x, w, bias, y); return;
    case 2: tile_4_2(f, x, w, bias, y); return;
    default: tile_4_1(f, x, w, bias, y); return;
    }
}

static void tile_one(size_t t, const filter *f, const float *x, const float *w, const float *bias, float *y)
{
    for (size_t done = 0; done < t;) {
#if CONV_T == 6
        if (t - done == 6) {
            tile_1_6(f, x + done * VW, w, bias, y + done * VW);
            done += 6;
            continue;
        }
#endif
        if (t - done >= 3) {
            tile_1_3(f, x + done * VW, w, bias, y + done * VW);
            done += 3;
        } else {
            tile_1_1(f, x + done * VW, w, bias, y + done * VW);
            done += 1;
        }
    }
}

#define FAR_WEIGHTS (1u << 20)  /* floats of weights that no cache near the core holds while tiles walk over them */
#define NEAR_WEIGHTS (1u << 18) /* and so many at once are walked then */

/* How many channels are summed before the next tile is gone to. */
static size_t channels_at_once(const filter *f)
{
    size_t one = f->rows * f->taps + 1, some = NEAR_WEIGHTS / one;
    return f->channels <= FAR_WEIGHTS / one ? f->channels : some < 16 ? 16 : some;
}

/* Tiles outside, filters inside: the slab of x under a tile stays in the first cache. Sums go on in y from one lot of
 * channels to the next, in the same order as at once. */
static void convolve(const filter *whole, const float *x, const float *w, const float *bias, float *y, size_t vectors)
{
    filter part = *whole;
    const filter *f = &part;
    size_t some = channels_at_once(whole), channels = whole->channels, c = 0;
    do {
        part.channels = channels - c < some ? channels - c : some;
        part.resume = c > 0;
        for (size_t v = 0, t; v < vectors; v += t) {
            t = tile_width(vectors - v);
            for (size_t r = 0; r < f->rows;) {
                const float *b = bias ? bias + r : NULL, *wr = w + r * f->w_row;
                float *yr = y + r * f->y_channel + v * VW;
                if (f->rows - r >= CONV_R) {
                    tile_four(t, f, x + v * VW, wr, b, yr);
                    r += CONV_R;
                } else {
                    tile_one(t, f, x + v * VW, wr, b, yr);
                    r += 1;
                }
            }
        }
        x += part.channels * f->x_channel;
        w += part.channels * f->w_channel;
        c += part.channels;
    } while (c < channels);
}

/* The lowest and highest offset into x, the highest into w; 0 where the plan would leave x at its front. */
static int taps_span(const uint32_t *tap, size_t taps, uint64_t front, uint64_t *x_high, uint64_t *w_high)
{
    *x_high = *w_high = 0;
    for (size_t k = 0; k < taps; k++) {
        int64_t offset = (int32_t)tap[2 * k];
        if (offset < 0 ? (uint64_t)-offset > front : 0) return 0;
        if (offset > 0 && (uint64_t)offset > *x_high) *x_high = (uint64_t)offset;
        if (tap[2 * k + 1] > *w_high) *w_high = tap[2 * k + 1];
    }
    return 1;
}

/* Floats from the start of a buffer to the end of its last plane. */
static uint64_t planes_extent(uint64_t front, uint64_t planes, uint64_t channel, uint64_t run)
{
    return planes ? plus(front, plus(times(planes - 1, channel), run)) : 0;
}

/* Of a convolution that is made a part at a time: planes of the scratch for y, or 0 where all are there, and how many
 * floats of each plane of x are read and of y written, or 0 where as many as the plan's blocks say. */
typedef struct {
    uint64_t planes, x_run, y_run;
    uint64_t w_rows; /* rows of w that are there, or 0 where all are */
} part;

static const part WHOLE = {0, 0, 0, 0};

/* A convolution whose operands have been found to be large enough. */
typedef struct {
    filter f;
    size_t groups, vectors, w_group;
    const float *x, *w, *bias;
    float *y;
} conv_job;

/* y, x, w, bias (or none), groups, channels and rows of a group, blocks, front and channel stride of x, of y,
 * strides of w (row, channel, group), taps, pairs of offsets.  `part` says what is there of y and how far x is read. */
static regrow_status conv_prepare(const machine *m, const uint32_t *w, uint32_t n, part some, conv_job *job)
{
    WORDS(16);
    uint64_t groups = w[4], run = times(w[7], LANES), x_high, w_high;
    filter f = {w[5], w[6], w[15], w[9], w[11], w[12], w[13], w + 16, 0};
    WORDS(16 + times(f.taps, 2));
    if (!taps_span(f.tap, f.taps, w[8], &x_high, &w_high)) return REGROW_E_BOUNDS;
    if (!groups || !f.rows) return REGROW_E_WORDS;
    int empty = !f.taps || !f.channels || !run;
    uint64_t w_extent = plus(plus(times(groups - 1, w[14]), times((some.w_rows ? some.w_rows : f.rows) - 1, f.w_row)), plus(w_high, 1));
    TAKE(float, y, w[0], planes_extent(w[10], some.planes ? some.planes : times(groups, f.rows), f.y_channel, some.y_run ? some.y_run : run));
    uint64_t x_run = some.x_run ? some.x_run : run;
    TAKE(const float, x, w[1], empty ? 0 : plus(planes_extent(w[8], times(groups, f.channels), f.x_channel, x_run), x_high));
    TAKE(const float, weights, w[2], empty ? 0 : plus(w_extent, times(f.channels - 1, f.w_channel)));
    TAKE_MAYBE(const float, bias, w[3], times(groups, f.rows));
    conv_job made = {f, (size_t)groups, (size_t)(run / VW), w[14], x + w[8], weights, bias, y + w[10]};
    *job = made;
    return REGROW_OK;
}

/* Some rows of an ungrouped convolution, the first of them at y. */
static void conv_rows(const conv_job *job, size_t first, size_t count, const float *x, size_t vectors, float *y)
{
    filter f = job->f;
    f.rows = count;
    convolve(&f, x, job->w + first * f.w_row, job->bias ? job->bias + first : NULL, y, vectors);
}

static regrow_status op_conv(const machine *m, const uint32_t *w, uint32_t n)
{
    conv_job job;
    regrow_status status = conv_prepare(m, w, n, WHOLE, &job);
    if (status != REGROW_OK) return status;
    const filter *f = &job.f;
    for (size_t g = 0; g < job.groups; g++)
        convolve(f, job.x + g * f->channels * f->x_channel, job.w + g * job.w_group, job.bias ? job.bias + g * f->rows : NULL,
                 job.y + g * f->rows * f->y_channel, job.vectors);
    return REGROW_OK;
}

#if VW == 16
#define GRAD_Q 6 /* positions, times four filters */
#else
#define GRAD_Q 2
#endif
#define GRAD_RUN (1024 / VW) /* vectors between two reductions: what they read stays in the first cache */

#define DOTS(R, Q)                                                                                              \
    static void dots_##R##_##Q(const float *dy, size_t dy_channel, const float *const *x, size_t run, float *g, \
                               size_t g_row, const uint32_t *g_at)                                              \
    {                                                                                                           \
        vf s[R][Q];                                                                                             \
        const float *xq[Q];                                                                                     \
        UNROLL for (int q = 0; q < (Q); q++) {                                                                  \
            xq[q] = x[q];                                                                                       \
            UNROLL for (int r = 0; r < (R); r++) s[r][q] = (vf){0};                                             \
        }                                                                                                       \
        for (size_t i = 0; i < run; i++) {                                                                      \
            vf d[R];                                                                                            \
            UNROLL for (int r = 0; r < (R); r++) d[r] = load(dy + (size_t)r * dy_channel + i * VW);             \
            UNROLL for (int q = 0; q < (Q); q++) {                                                              \
                vf v = load(xq[q] + i * VW);                                                                    \
                UNROLL for (int r = 0; r < (R); r++) s[r][q] += d[r] * v;                                       \
            }                                                                                                   \
        }                                                                                                       \
        DOTS_END(R, Q)                                                                                          \
    }
#define DOTS_END(R, Q)                                                                                          \
    UNROLL for (int r = 0; r < (R); r++) {                                                                      \
        UNROLL for (int q = 0; q < (Q); q++) g[(size_t)r * g_row + g_at[q]] += sum_lanes(s[r][q]);              \
    }
DOTS(4, 1)
DOTS(1, 1)
#undef DOTS_END
#define DOTS_END(R, Q)                                                                                          \
    vf flat[(R) * (Q)];                                                                                         \
    float sums[(R) * (Q)];                                                                                      \
    UNROLL for (int i = 0; i < (R) * (Q); i++) flat[i] = s[i / (Q)][i % (Q)];                                   \
    UNROLL for (int i = 0; i < (R) * (Q); i += 8) sum_eight(flat + i, sums + i);                                \
    UNROLL for (int i = 0; i < (R) * (Q); i++) g[(size_t)(i / (Q)) * g_row + g_at[i % (Q)]] += sums[i];
#if GRAD_Q == 6
DOTS(4, 6)
#define DOTS_MANY dots_4_6
#else
DOTS(4, 2)
#define DOTS_MANY dots_4_2
#endif
#undef DOTS_END
#undef DOTS

/* Positions are walked as (channel, tap); those of four filters at once. */
static void correlate(const filter *f, const float *dy, const float *x, float *g, size_t run)
{
    size_t positions = f->channels * f->taps;
    for (size_t r = 0; r < f->rows;) {
        size_t rows = f->rows - r >= 4 ? 4 : 1;
        const float *d = dy + r * f->y_channel;
        float *gr = g + r * f->w_row;
        size_t c = 0, k = 0;
        for (size_t q = 0; q < positions;) {
            size_t some = rows == 4 && positions - q >= GRAD_Q ? GRAD_Q : 1;
            const float *at_x[GRAD_Q];
            uint32_t at_g[GRAD_Q];
            for (size_t i = 0; i < some; i++) {
                at_x[i] = x + c * f->x_channel + (int32_t)f->tap[2 * k];
                at_g[i] = (uint32_t)(c * f->w_channel + f->tap[2 * k + 1]);
                if (++k == f->taps) {
                    k = 0;
                    c++;
                }
            }
            if (some == GRAD_Q) DOTS_MANY(d, f->y_channel, at_x, run, gr, f->w_row, at_g);
            else if (rows == 4) dots_4_1(d, f->y_channel, at_x, run, gr, f->w_row, at_g);
            else dots_1_1(d, f->y_channel, at_x, run, gr, f->w_row, at_g);
            q += some;
        }
        r += rows;
    }
}

typedef struct {
    filter f;
    size_t groups, vectors, w_group, size;
    const float *dy, *x;
    float *g;
} grad_job;

/* dw, dy, x, groups, channels and rows of a group, blocks, front and channel stride of x, of dy, strides of dw
 * (row, channel, group), taps, pairs of offsets.  The pads of dy are zero. */
static regrow_status grad_prepare(const machine *m, const uint32_t *w, uint32_t n, part some, grad_job *job)
{
    WORDS(15);
    uint64_t groups = w[3], run = times(w[6], LANES), x_high, w_high;
    filter f = {w[4], w[5], w[14], w[8], w[10], w[11], w[12], w + 15, 0};
    WORDS(15 + times(f.taps, 2));
    if (!groups || !f.rows || !f.channels || !f.taps) return REGROW_E_WORDS;
    if (!taps_span(f.tap, f.taps, w[7], &x_high, &w_high)) return REGROW_E_BOUNDS;
    uint64_t size = plus(plus(times(groups - 1, w[13]), times(f.rows - 1, f.w_row)), plus(w_high, 1));
    size = plus(size, times(f.channels - 1, f.w_channel));
    TAKE(float, g, w[0], size);
    TAKE(const float, dy, w[1], planes_extent(w[9], some.planes ? some.planes : times(groups, f.rows), f.y_channel, run));
    uint64_t x_run = some.x_run ? some.x_run : run;
    TAKE(const float, x, w[2], plus(planes_extent(w[7], times(groups, f.channels), f.x_channel, x_run), x_high));
    grad_job made = {f, (size_t)groups, (size_t)(run / VW), w[13], (size_t)size, dy + w[9], x + w[7], g};
    *job = made;
    return REGROW_OK;
}

/* To the gradients of some rows what one stretch of their dy adds. */
static void grad_rows(const grad_job *job, size_t first, size_t count, const float *dy, const float *x, size_t vectors)
{
    filter f = job->f;
    f.rows = count;
    for (size_t v = 0; v < vectors; v += GRAD_RUN)
        correlate(&f, dy + v * VW, x + v * VW, job->g + first * f.w_row, vectors - v < GRAD_RUN ? vectors - v : GRAD_RUN);
}

static regrow_status op_conv_dw(const machine *m, const uint32_t *w, uint32_t n)
{
    grad_job job;
    memset(&job, 0, sizeof job); /* gcc at -O1 cannot tell that a job that was prepared is whole */
    regrow_status status = grad_prepare(m, w, n, WHOLE, &job);
    if (status != REGROW_OK) return status;
    const filter *f = &job.f;
    zero(job.g, job.size);
    for (size_t i = 0; i < job.groups; i++)
        for (size_t v = 0; v < job.vectors; v += GRAD_RUN)
            correlate(f, job.dy + i * f->rows * f->y_channel + v * VW, job.x + i * f->channels * f->x_channel + v * VW,
                      job.g + i * job.w_group, job.vectors - v < GRAD_RUN ? job.vectors - v : GRAD_RUN);
    return REGROW_OK;
}
