/* chain.c - a convolution and the block behind it, a few channels at a time in a scratch of as many planes: what lies
 * between them is never kept whole. Backward makes it again for some samples at a time, in a scratch of as many, and
 * takes the gradients from there.
 *
 * Where what is read or made is kept as halves (half.c), a few samples of it are widened at a time, or one channel. */

/* Only what a plan uses of these is built. */
#define HALVED(kind, h) (USES_OP_##kind##_half && (h).samples)
#define NARROWED(c) (USES_OP_chain_half && (c).narrow.row)

typedef struct {
    uint32_t sparse;
    conv_job dense;
    sparse_job kept;
    narrow_rows narrow; /* whose weights are floats a few rows at a time; of no floats where they all are */
} chain_conv;

static regrow_status chain_prepare(const machine *m, const uint32_t *w, uint32_t n, uint32_t sparse, part some, chain_conv *c)
{
    /* Only one of the two jobs is read, which a compiler that inlines all of this cannot tell. */
    memset(c, 0, sizeof *c);
    c->sparse = sparse;
    if (sparse) return sparse_prepare(m, w, n, some, &c->kept);
    regrow_status status = conv_prepare(m, w, n, some, &c->dense);
    return status == REGROW_OK && c->dense.groups != 1 ? REGROW_E_WORDS : status;
}

static size_t chain_filters(const chain_conv *c) { return c->sparse ? c->kept.rows : c->dense.f.rows; }
static float *chain_scratch(const chain_conv *c) { return c->sparse ? c->kept.y : c->dense.y; }
static size_t chain_stride(const chain_conv *c) { return c->sparse ? c->kept.y_channel : c->dense.f.y_channel; }
static size_t chain_vectors(const chain_conv *c) { return c->sparse ? c->kept.vectors : c->dense.vectors; }
static const float *chain_input(const chain_conv *c) { return c->sparse ? c->kept.x : c->dense.x; }

static void narrowed_rows(const chain_conv *c, size_t first, size_t count, const float *x, size_t vectors, float *y)
{
    filter f = c->dense.f;
    f.rows = count;
    narrow_widen(&c->narrow, first, count);
    convolve(&f, x, c->narrow.to, c->dense.bias ? c->dense.bias + first : NULL, y, vectors);
}

/* Some filters over so many vectors, x being read from `shift` on. */
static void chain_rows(const chain_conv *c, size_t first, size_t count, size_t shift, size_t vectors, float *y)
{
    if (c->sparse) sparse_rows(&c->kept, first, count, chain_input(c) + shift, vectors, y);
    else if (NARROWED(*c)) narrowed_rows(c, first, count, chain_input(c) + shift, vectors, y);
    else conv_rows(&c->dense, first, count, chain_input(c) + shift, vectors, y);
}

/* How many floats of a plane are read or written over all tiles. */
static uint64_t chain_reach(uint64_t samples, uint64_t tile, uint64_t sample)
{
    uint64_t whole = samples / tile * tile, rest = samples - whole;
    uint64_t reach = whole ? plus(times(whole - tile, sample), times((times(tile, sample) + VW - 1) / VW, VW)) : 0;
    uint64_t last = rest ? plus(times(whole, sample), times((times(rest, sample) + VW - 1) / VW, VW)) : 0;
    return reach > last ? reach : last;
}

typedef struct {
    chain_conv conv;
    block_job block;
    halves x, y; /* with no samples where they are not halves */
} chain_job;

static regrow_status chain_forward_prepare(const machine *m, const uint32_t *w, uint32_t n, uint32_t head, chain_job *j)
{
    uint32_t nx = head > 3 ? w[3] : 0, ny = head > 3 ? w[4] : 0, nw = head > 3 ? w[5] : 0;
    uint64_t rest = (uint64_t)w[2] + nx + ny + nw;
    narrow_rows narrow = {NULL, NULL, NULL, NULL, 0};
    j->x.samples = j->y.samples = 0;
    if (!w[0] || rest > n - head) return REGROW_E_WORDS;
    const uint32_t *conv = w + head, *x = conv + w[2], *y = x + nx, *weight = y + ny, *block = weight + nw;
    regrow_status status = REGROW_OK;
    if (USES_OP_chain_half && nw) status = narrow_prepare(m, weight, nw, w[0], &narrow);
    if (status != REGROW_OK) return status;
    if (USES_OP_chain_half && nx) status = halves_prepare(m, x, nx, &j->x);
    if (USES_OP_chain_half && ny && status == REGROW_OK) status = halves_prepare(m, y, ny, &j->y);
    if (status != REGROW_OK) return status;
    part some = {w[0], 0, HALVED(chain, j->x) ? chain_reach(j->x.samples, j->x.tile, j->x.run) : 0, narrow.row ? w[0] : 0};
    status = chain_prepare(m, conv, w[2], w[1], some, &j->conv);
    j->conv.narrow = narrow;
    if (status == REGROW_OK) status = block_prepare(m, block, (uint32_t)(n - head - rest), w[0], HALVED(chain, j->y) ? 1 : 0, &j->block);
    if (status != REGROW_OK) return status;
    uint32_t written[] = {block[0], block[1], block[2], REGROW_NONE, REGROW_NONE, REGROW_NONE}; /* y, mean, var */
    enum { WRITTEN = sizeof written / sizeof *written };
    if (nx) written[WRITTEN - 3] = x[1];
    if (ny) {
        written[WRITTEN - 2] = y[0];
        written[WRITTEN - 1] = y[1];
    }
    if (w[1] && !list_apart(m, conv + 4, written, WRITTEN)) return REGROW_E_INDEX;
    const block_job *b = &j->block;
    float *scratch = chain_scratch(&j->conv);
    size_t filters = chain_filters(&j->conv), samples = b->size.samples;
    if (NARROWED(j->conv) && (j->conv.sparse || narrow.to != j->conv.dense.w || narrow.row != j->conv.dense.f.w_row || weight[2] != filters))
        return REGROW_E_WORDS;
    if (filters != b->size.channels || b->z + b->z_view.first != scratch || b->z_view.channel != chain_stride(&j->conv)) return REGROW_E_WORDS;
    if (HALVED(chain, j->x) &&
        (j->x.samples != samples || j->x.run != b->z_view.sample || j->x.planes != j->x.channels || j->x.scratch != chain_input(&j->conv) ||
         times(chain_vectors(&j->conv), VW) < times(j->x.tile, j->x.run) || b->z_view.channel < some.y_run))
        return REGROW_E_WORDS;
    if (HALVED(chain, j->y) && (j->y.samples != samples || j->y.tile != samples || j->y.channels != filters || j->y.run != b->y_view.sample ||
                                j->y.scratch != b->y + b->y_view.first))
        return REGROW_E_WORDS;
    return REGROW_OK;
}

/* z of some filters, all samples. */
static void chain_fill(const chain_job *j, size_t c, size_t count, float *scratch)
{
    if (!HALVED(chain, j->x)) {
        chain_rows(&j->conv, c, count, 0, chain_vectors(&j->conv), scratch);
        return;
    }
    const halves *x = &j->x;
    for (size_t s = 0; s < x->samples; s += x->tile) {
        size_t some = x->samples - s < x->tile ? x->samples - s : x->tile;
        if (c == 0 || x->tile < x->samples) halves_widen(x, 0, x->channels, s, some);
        chain_rows(&j->conv, c, count, 0, (some * x->run + VW - 1) / VW, scratch + s * x->run);
    }
}

static regrow_status chain_forward(const machine *m, const uint32_t *w, uint32_t n, uint32_t head)
{
    chain_job j;
    regrow_status status = chain_forward_prepare(m, w, n, head, &j);
    if (status != REGROW_OK) return status;
    float *scratch = chain_scratch(&j.conv);
    size_t filters = chain_filters(&j.conv), planes = w[0];
    for (size_t c = 0; c < filters; c += planes) {
        size_t count = filters - c < planes ? filters - c : planes;
        chain_fill(&j, c, count, scratch);
        for (size_t i = 0; i < count; i++) {
            float *zc = scratch + i * j.block.z_view.channel;
            if (!HALVED(chain, j.y)) block_channel(&j.block, c + i, zc, block_output(&j.block, c + i));
            else {
                block_channel(&j.block, c + i, zc, j.y.scratch);
                halves_shorten(&j.y, c + i, 1, 0, j.y.samples);
            }
        }
    }
    return REGROW_OK;
}

/* planes of scratch, whether the weight is packed, words of the convolution, those, the block's. */
static regrow_status op_chain(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(3);
    return chain_forward(m, w, n, 3);
}

/* The same with three more words: how many there are of halves for x and for y, and of rows for w (narrow_prepare), or 0;
 * those follow the convolution's. The convolution then reads the scratch of x, which holds all its channels, and as many
 * rows of w as there are planes; y is one plane. */
static regrow_status op_chain_half(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    return chain_forward(m, w, n, 6);
}

/* The input gradient, and the block before: its output x is replaced by the gradient of it, and what that block needs
 * of both is summed on the way. */
typedef struct {
    chain_conv conv;
    size_t planes;
    view x_view;
    float slope;
    const float *beta; /* or NULL */
    float *x, *plain, *along;
} chain_input_grad;

typedef struct {
    chain_conv conv;
    back_job block;
    grad_job dense;
    sparse_grad_job kept;
    chain_input_grad dx;
    uint32_t has_dx, sparse_grad;
    size_t planes, tile, samples;
    halves x, dy; /* with no samples where they are not halves */
    size_t there; /* the first sample that is in x's scratch */
    const float *plain, *along; /* sums of the block's gradient, or NULL */
} chain_back;

enum { CHAIN_BACK_WORDS = 11, CHAIN_DX_WORDS = 9 };

static regrow_status chain_dx_prepare(const machine *m, const uint32_t *w, uint32_t n, uint32_t sparse, const chain_back *b, chain_input_grad *dx)
{
    WORDS(CHAIN_DX_WORDS);
    part some = {w[0], 0, 0, 0};
    regrow_status status = chain_prepare(m, w + CHAIN_DX_WORDS, n - CHAIN_DX_WORDS, sparse, some, &dx->conv);
    if (status != REGROW_OK) return status;
    extent4 e = b->block.b.z_size;
    e.channels = chain_filters(&dx->conv);
    if (HALVED(chain_back, b->x)) e.samples = b->x.tile;
    dx->planes = w[0];
    dx->x_view = view_read(w + 2);
    dx->slope = as_float(w[6]);
    TAKE(float, x, w[1], view_extent(&dx->x_view, &e));
    TAKE_MAYBE(const float, beta, w[7], e.channels);
    TAKE_MAYBE(float, sums, w[8], times(2, e.channels));
    dx->x = x;
    dx->beta = beta;
    dx->plain = sums;
    dx->along = sums ? sums + e.channels : NULL;
    if (!dx->planes || chain_input(&dx->conv) != chain_scratch(&b->conv)) return REGROW_E_WORDS;
    if (HALVED(chain_back, b->x) && (x + dx->x_view.first != b->x.scratch || dx->x_view.channel != b->x.channel ||
                                     dx->x_view.sample != b->x.run || e.channels != b->x.channels))
        return REGROW_E_WORDS;
    if (sums) zero(sums, 2 * e.channels);
    return REGROW_OK;
}

/* What is kept as halves: of x all channels of a tile's samples are widened at once, of dy one. */
static regrow_status chain_halves_prepare(const machine *m, const uint32_t *w, uint32_t nx, uint32_t ndy, size_t samples, chain_back *b)
{
    regrow_status status = REGROW_OK;
    b->there = SIZE_MAX;
    if (nx) status = halves_prepare(m, w, nx, &b->x);
    if (ndy && status == REGROW_OK) status = halves_prepare(m, w + nx, ndy, &b->dy);
    if (status != REGROW_OK) return status;
    if (nx && (b->x.samples != samples || b->x.tile != b->tile || b->x.planes != b->x.channels)) return REGROW_E_WORDS;
    return ndy && (b->dy.samples != samples || b->dy.tile != b->tile) ? REGROW_E_WORDS : REGROW_OK;
}

static regrow_status chain_back_prepare(const machine *m, const uint32_t *w, uint32_t n, uint32_t head, chain_back *b)
{
    WORDS(head);
    uint32_t nx = head > CHAIN_BACK_WORDS ? w[11] : 0, ndy = head > CHAIN_BACK_WORDS ? w[12] : 0;
    uint64_t words = (uint64_t)w[4] + w[5] + w[6] + w[8] + nx + ndy;
    WORDS(head + words);
    const uint32_t *conv = w + head, *block = conv + w[4], *grad = block + w[5], *dx = grad + w[6];
    if (!w[0] || !w[3] || w[5] < 23) return REGROW_E_WORDS;
    b->tile = w[3];
    if (USES_OP_chain_back_half) {
        regrow_status found = chain_halves_prepare(m, dx + w[8], nx, ndy, block[14], b);
        if (found != REGROW_OK) return found;
    }
    part some = {w[0], HALVED(chain_back, b->x) ? 0 : chain_reach(block[14], w[3], block[20]), 0, 0};
    b->planes = w[0];
    b->sparse_grad = w[2];
    b->samples = block[14];
    b->has_dx = w[7];
    regrow_status status = chain_prepare(m, conv, w[4], w[1], some, &b->conv);
    if (status == REGROW_OK) status = back_prepare(m, block, w[5], b->planes, b->tile, HALVED(chain_back, b->dy) ? 1 : 0, &b->block);
    if (status == REGROW_OK)
        status = b->sparse_grad ? sparse_grad_prepare(m, grad, w[6], some, &b->kept) : grad_prepare(m, grad, w[6], some, &b->dense);
    if (status == REGROW_OK && b->has_dx) status = chain_dx_prepare(m, dx, w[8], b->has_dx == 2, b, &b->dx);
    if (status != REGROW_OK) return status;
    /* What is written: the scratch, dz and the sums, the weights' gradient; of dx its scratch, x, the sums; where x is halves those and
     * their scratch, and that of dy. */
    const uint32_t *dx_conv = dx + CHAIN_DX_WORDS;
    uint32_t written[12] = {conv[0], block[0], block[1], block[2], block[3], grad[0]};
    enum { WRITTEN = sizeof written / sizeof *written };
    for (size_t i = 6; i < WRITTEN; i++) written[i] = REGROW_NONE;
    if (b->has_dx) {
        written[6] = dx_conv[0];
        written[7] = dx[1];
        written[8] = dx[8];
    }
    if (nx) {
        written[9] = dx[w[8]];
        written[10] = dx[w[8] + 1];
    }
    if (ndy) written[11] = dx[w[8] + nx + 1];
    if ((w[1] && !list_apart(m, conv + 4, written, WRITTEN)) || (b->has_dx == 2 && !list_apart(m, dx_conv + 4, written, WRITTEN)))
        return REGROW_E_INDEX;
    if (b->sparse_grad && (!list_apart(m, grad + 3, written, WRITTEN) || !list_apart(m, grad + 4, written, WRITTEN))) /* targets too */
        return REGROW_E_INDEX;
    const back_job *j = &b->block;
    size_t channels = j->b.z_size.channels, stride = chain_stride(&b->conv);
    float *scratch = chain_scratch(&b->conv);
    TAKE_MAYBE(const float, plain, w[9], channels);
    TAKE_MAYBE(const float, along, w[9], times(2, channels));
    b->plain = plain;
    b->along = along ? along + channels : NULL;
    if (channels != chain_filters(&b->conv) || !j->dz || (j->norm != NORM_NONE && (!j->dgamma || !j->dbeta))) return REGROW_E_WORDS;
    if (j->z + j->b.z.first != scratch || j->dz + j->b.dz.first != scratch || j->b.z.channel != stride || j->b.dz.channel != stride)
        return REGROW_E_WORDS;
    if (!j->on_grid || j->b.z.sample != j->b.dz.sample || j->b.z.row != j->b.dz.row) return REGROW_E_WORDS;
    if (chain_vectors(&b->conv) * VW < times(b->tile, j->b.z.sample) || (b->has_dx && b->planes < channels)) return REGROW_E_WORDS;
    if (b->sparse_grad ? b->kept.rows != channels || b->kept.dy != scratch || b->kept.dy_channel != stride
                       : b->dense.f.rows != channels || b->dense.dy != scratch || b->dense.f.y_channel != stride || b->dense.groups != 1)
        return REGROW_E_WORDS;
    if (HALVED(chain_back, b->x) && (b->x.scratch != chain_input(&b->conv) || b->x.scratch != (b->sparse_grad ? b->kept.x : b->dense.x) ||
                                     b->x.run != j->b.z.sample))
        return REGROW_E_WORDS;
    if (HALVED(chain_back, b->dy) && (b->dy.scratch != j->dy + j->b.dy.first || b->dy.run != j->b.dy.sample || b->dy.channels != channels))
        return REGROW_E_WORDS;
    return REGROW_OK;
}

/* The job for some samples from `first` on, the others being elsewhere. */
static back chain_tile(const chain_back *b, size_t count)
{
    back some = b->block.b;
    some.z_size.samples = some.y_size.samples = count;
    return some;
}

static size_t chain_count(const chain_back *b, size_t s) { return b->samples - s < b->tile ? b->samples - s : b->tile; }
static size_t chain_vectors_of(const chain_back *b, size_t count) { return (count * b->block.b.z.sample + VW - 1) / VW; }

/* How far into x the samples from s on lie: they are widened for it where they are halves. */
static size_t chain_shift(chain_back *b, size_t s)
{
    if (!HALVED(chain_back, b->x)) return s * b->block.b.z.sample;
    if (b->there != s) halves_widen(&b->x, 0, b->x.channels, s, chain_count(b, s));
    b->there = s;
    return 0;
}

/* What comes from above to channel c of the samples from s on. */
static const float *chain_above(const chain_back *b, size_t c, size_t s)
{
    const back_job *j = &b->block;
    if (!HALVED(chain_back, b->dy)) return j->dy + j->b.dy.first + c * j->b.dy.channel + s * j->b.dy.sample;
    halves_widen(&b->dy, c, 1, s, chain_count(b, s));
    return b->dy.scratch;
}

/* Gradients of gamma and beta of channel c: from sums that are there, from the output, or from z, made for it. */
static void chain_sums(chain_back *b, size_t c)
{
    const back_job *j = &b->block;
    float rstd, plain = 0, along = 0, *scratch = chain_scratch(&b->conv);
    affine a = back_affine(j, c, &rstd);
    if (b->plain && back_by_output(j, c)) {
        plain = b->plain[c];
        along = b->along[c] / a.scale;
    } else if (!b->plain && j->y && !HALVED(chain_back, b->dy) && back_by_output(j, c))
        back_sums_of_output(&j->b, &a, j->y + j->b.y.first + c * j->b.y.channel, chain_above(b, c, 0), &plain, &along);
    else
        for (size_t s = 0; s < b->samples; s += b->tile) {
            size_t count = chain_count(b, s);
            back some = chain_tile(b, count);
            float part_plain, part_along;
            chain_rows(&b->conv, c, 1, chain_shift(b, s), chain_vectors_of(b, count), scratch);
            back_sums(&some, &a, scratch, chain_above(b, c, s), &part_plain, &part_along);
            plain += part_plain;
            along += part_along;
        }
    j->dgamma[c] = along * rstd;
    j->dbeta[c] = plain;
}

/* dz of some channels of a tile, and what it adds to their weights' gradients. */
static void chain_back_rows(chain_back *b, size_t c, size_t count, size_t s, float *scratch)
{
    const back_job *j = &b->block;
    size_t samples = chain_count(b, s), vectors = chain_vectors_of(b, samples), shift = chain_shift(b, s);
    back some = chain_tile(b, samples);
    chain_rows(&b->conv, c, count, shift, vectors, scratch);
    for (size_t i = 0; i < count; i++) {
        size_t channel = c + i;
        float rstd, *plane = scratch + i * j->b.z.channel;
        affine a = back_affine(j, channel, &rstd);
        spread p = {0, 0};
        if (j->norm != NORM_NONE) p = back_spread(j, &a, rstd, j->dbeta[channel], j->dgamma[channel] / rstd);
        float sum = back_plane(&some, &a, &p, plane, chain_above(b, channel, s), plane);
        if (j->dsum) j->dsum[channel] += sum;
        scrub_below(plane, &some.dz, &some.z_size);
    }
    if (b->sparse_grad) sparse_grad_rows(&b->kept, c, count, scratch, b->kept.x + shift, vectors);
    else grad_rows(&b->dense, c, count, scratch, b->dense.x + shift, vectors);
}

/* One plane of x replaced by its gradient g; sums over both, as the block before needs them. */
static void chain_replace(const chain_input_grad *dx, const extent4 *e, const view *from, size_t c, const float *g, float *x)
{
    vf s0 = {0}, s1 = {0};
    float up = dx->slope > 0 ? 1 / dx->slope : 0, shift = dx->beta ? dx->beta[c] : 0;
    EACH_ROW(*e, i, s, r) {
        size_t left = e->columns - i;
        float *at_x = x + s * dx->x_view.sample + r * dx->x_view.row + i;
        vf d = load_some(g + s * from->sample + r * from->row + i, left), v = load_some(at_x, left);
        store_some(at_x, d, left);
        d = slide(v, d, dx->slope);
        v = pick_lanes(above(v, (vf){0}), v, v * up);
        s0 += d;
        s1 += d * (v - shift);
    }
    if (dx->plain) {
        dx->plain[c] += sum_lanes(s0);
        dx->along[c] += sum_lanes(s1);
    }
}

static void chain_give_back(chain_back *b, size_t s)
{
    const chain_input_grad *dx = &b->dx;
    size_t shift = HALVED(chain_back, b->x) ? 0 : s * dx->x_view.sample;
    size_t count = chain_count(b, s), channels = chain_filters(&dx->conv), stride = chain_stride(&dx->conv);
    float *scratch = chain_scratch(&dx->conv);
    back some = chain_tile(b, count);
    for (size_t c = 0; c < channels; c += dx->planes) {
        size_t rows = channels - c < dx->planes ? channels - c : dx->planes;
        chain_rows(&dx->conv, c, rows, 0, chain_vectors_of(b, count), scratch);
        for (size_t i = 0; i < rows; i++)
            chain_replace(dx, &some.z_size, &some.z, c + i, scratch + i * stride,
                          dx->x + dx->x_view.first + (c + i) * dx->x_view.channel + shift);
    }
    if (HALVED(chain_back, b->x)) {
        halves_shorten(&b->x, 0, channels, s, count);
        b->there = SIZE_MAX;
    }
}

static regrow_status chain_backward(const machine *m, const uint32_t *w, uint32_t n, uint32_t head)
{
    chain_back b;
    memset(&b, 0, sizeof b);
    regrow_status status = chain_back_prepare(m, w, n, head, &b);
    if (status != REGROW_OK) return status;
    size_t channels = b.block.b.z_size.channels, stride = chain_stride(&b.conv), group = b.has_dx ? 8 : b.planes;
    float *scratch = chain_scratch(&b.conv);
    if (b.block.norm != NORM_NONE)
        for (size_t c = 0; c < channels; c++) chain_sums(&b, c);
    if (b.sparse_grad) zero(b.kept.g, b.kept.kept);
    else zero(b.dense.g, b.dense.size);
    if (b.block.dsum) zero(b.block.dsum, channels);
    for (size_t s = 0; s < b.samples; s += b.tile) {
        for (size_t c = 0; c < channels; c += group)
            chain_back_rows(&b, c, channels - c < group ? channels - c : group, s, scratch + (b.has_dx ? c * stride : 0));
        if (b.has_dx) chain_give_back(&b, s);
    }
    return REGROW_OK;
}

/* planes of scratch, whether the weight is packed, whether its gradient is, samples of a tile, words of the convolution,
 * of the block's gradient, of the weight's; whether there is an input gradient (1) and its weight is packed (2), its
 * words; sums of the block's gradient, those along its output behind them (or none), 0; then all of these.  z and dz are
 * one scratch of a tile's samples, its channels there at once where there is an input gradient.
 * Words of an input gradient: planes of its scratch, x, view of x, slope and beta (or none) of the block before, sums of
 * its gradient (or none), then the convolution's. */
static regrow_status op_chain_back(const machine *m, const uint32_t *w, uint32_t n) { return chain_backward(m, w, n, CHAIN_BACK_WORDS); }

/* The same with two more words before all of these: how many there are of halves for x and for dy, or 0; those come
 * last. x is then its scratch throughout, dy one plane of its own. */
static regrow_status op_chain_back_half(const machine *m, const uint32_t *w, uint32_t n) { return chain_backward(m, w, n, CHAIN_BACK_WORDS + 2); }
