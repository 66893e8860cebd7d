/* chain.c - a convolution and the block behind it, a few channels at a time in a scratch of as many planes: what lies
 * between them is never kept whole. Backward makes it again for some samples at a time, in a scratch of as many, and
 * takes the gradients from there. */

typedef struct {
    uint32_t sparse;
    conv_job dense;
    sparse_job kept;
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

/* Some filters over so many vectors, x being read from `shift` on. */
static void chain_rows(const chain_conv *c, size_t first, size_t count, size_t shift, size_t vectors, float *y)
{
    if (c->sparse) sparse_rows(&c->kept, first, count, chain_input(c) + shift, vectors, y);
    else conv_rows(&c->dense, first, count, chain_input(c) + shift, vectors, y);
}

/* planes of scratch, whether the weight is packed, words of the convolution, those, the block's. */
static regrow_status op_chain(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(3);
    size_t planes = w[0];
    chain_conv conv;
    block_job block;
    part some = {planes, 0};
    if (!planes || w[2] > n - 3) return REGROW_E_WORDS;
    regrow_status status = chain_prepare(m, w + 3, w[2], w[1], some, &conv);
    if (status == REGROW_OK) status = block_prepare(m, w + 3 + w[2], n - 3 - w[2], planes, &block);
    if (status != REGROW_OK) return status;
    if (w[1] && !list_apart(m, w + 3 + 4, w + 3 + w[2], 3)) return REGROW_E_INDEX; /* y, mean, var */
    float *scratch = chain_scratch(&conv);
    size_t filters = chain_filters(&conv);
    if (filters != block.size.channels || block.z + block.z_view.first != scratch || block.z_view.channel != chain_stride(&conv))
        return REGROW_E_WORDS;
    for (size_t c = 0; c < filters; c += planes) {
        size_t count = filters - c < planes ? filters - c : planes;
        chain_rows(&conv, c, count, 0, chain_vectors(&conv), scratch);
        for (size_t i = 0; i < count; i++) block_channel(&block, c + i, scratch + i * block.z_view.channel);
    }
    return REGROW_OK;
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
    const float *plain, *along; /* sums of the block's gradient, or NULL */
} chain_back;

enum { CHAIN_BACK_WORDS = 11, CHAIN_DX_WORDS = 9 };

/* How many floats of a plane of x are read over all tiles. */
static uint64_t chain_reach(uint64_t samples, uint64_t tile, uint64_t sample)
{
    uint64_t whole = samples / tile * tile, rest = samples - whole;
    uint64_t reach = whole ? plus(times(whole - tile, sample), times((times(tile, sample) + VW - 1) / VW, VW)) : 0;
    uint64_t last = rest ? plus(times(whole, sample), times((times(rest, sample) + VW - 1) / VW, VW)) : 0;
    return reach > last ? reach : last;
}

static regrow_status chain_dx_prepare(const machine *m, const uint32_t *w, uint32_t n, uint32_t sparse, const chain_back *b, chain_input_grad *dx)
{
    WORDS(CHAIN_DX_WORDS);
    part some = {w[0], 0};
    regrow_status status = chain_prepare(m, w + CHAIN_DX_WORDS, n - CHAIN_DX_WORDS, sparse, some, &dx->conv);
    if (status != REGROW_OK) return status;
    extent4 e = b->block.b.z_size;
    e.channels = chain_filters(&dx->conv);
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
    if (sums) zero(sums, 2 * e.channels);
    return REGROW_OK;
}

static regrow_status chain_back_prepare(const machine *m, const uint32_t *w, uint32_t n, chain_back *b)
{
    WORDS(CHAIN_BACK_WORDS);
    uint64_t words = (uint64_t)w[4] + w[5] + w[6] + w[8];
    WORDS(CHAIN_BACK_WORDS + words);
    const uint32_t *conv = w + CHAIN_BACK_WORDS, *block = conv + w[4], *grad = block + w[5], *dx = grad + w[6];
    if (!w[0] || !w[3] || w[5] < 23) return REGROW_E_WORDS;
    part some = {w[0], chain_reach(block[14], w[3], block[20])};
    b->planes = w[0];
    b->sparse_grad = w[2];
    b->tile = w[3];
    b->samples = block[14];
    b->has_dx = w[7];
    regrow_status status = chain_prepare(m, conv, w[4], w[1], some, &b->conv);
    if (status == REGROW_OK) status = back_prepare(m, block, w[5], b->planes, b->tile, &b->block);
    if (status == REGROW_OK)
        status = b->sparse_grad ? sparse_grad_prepare(m, grad, w[6], some, &b->kept) : grad_prepare(m, grad, w[6], some, &b->dense);
    if (status == REGROW_OK && b->has_dx) status = chain_dx_prepare(m, dx, w[8], b->has_dx == 2, b, &b->dx);
    if (status != REGROW_OK) return status;
    /* What is written: the scratch, dz and the sums, the weights' gradient; of dx its scratch, x, the sums. */
    const uint32_t *dx_conv = dx + CHAIN_DX_WORDS;
    uint32_t written[] = {conv[0], block[0], block[1], block[2], block[3], grad[0], REGROW_NONE, REGROW_NONE, REGROW_NONE};
    enum { WRITTEN = sizeof written / sizeof *written };
    if (b->has_dx) {
        written[WRITTEN - 3] = dx_conv[0];
        written[WRITTEN - 2] = dx[1];
        written[WRITTEN - 1] = dx[8];
    }
    if ((w[1] && !list_apart(m, conv + 4, written, WRITTEN)) || (b->sparse_grad && !list_apart(m, grad + 3, written, WRITTEN)) ||
        (b->has_dx == 2 && !list_apart(m, dx_conv + 4, written, WRITTEN)))
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

/* Gradients of gamma and beta of channel c: from sums that are there, from the output, or from z, made for it. */
static void chain_sums(const chain_back *b, size_t c)
{
    const back_job *j = &b->block;
    const float *gc = j->dy + j->b.dy.first + c * j->b.dy.channel;
    float rstd, plain = 0, along = 0, *scratch = chain_scratch(&b->conv);
    affine a = back_affine(j, c, &rstd);
    if (b->plain && back_by_output(j, c)) {
        plain = b->plain[c];
        along = b->along[c] / a.scale;
    } else if (!b->plain && j->y && back_by_output(j, c))
        back_sums_of_output(&j->b, &a, j->y + j->b.y.first + c * j->b.y.channel, gc, &plain, &along);
    else
        for (size_t s = 0; s < b->samples; s += b->tile) {
            size_t count = chain_count(b, s);
            back some = chain_tile(b, count);
            float part_plain, part_along;
            chain_rows(&b->conv, c, 1, s * j->b.z.sample, chain_vectors_of(b, count), scratch);
            back_sums(&some, &a, scratch, gc + s * j->b.dy.sample, &part_plain, &part_along);
            plain += part_plain;
            along += part_along;
        }
    j->dgamma[c] = along * rstd;
    j->dbeta[c] = plain;
}

/* dz of some channels of a tile, and what it adds to their weights' gradients. */
static void chain_back_rows(const chain_back *b, size_t c, size_t count, size_t s, float *scratch)
{
    const back_job *j = &b->block;
    size_t samples = chain_count(b, s), vectors = chain_vectors_of(b, samples), shift = s * j->b.z.sample;
    back some = chain_tile(b, samples);
    chain_rows(&b->conv, c, count, shift, vectors, scratch);
    for (size_t i = 0; i < count; i++) {
        size_t channel = c + i;
        float rstd, *plane = scratch + i * j->b.z.channel;
        affine a = back_affine(j, channel, &rstd);
        spread p = {0, 0};
        if (j->norm != NORM_NONE) p = back_spread(j, &a, rstd, j->dbeta[channel], j->dgamma[channel] / rstd);
        float sum = back_plane(&some, &a, &p, plane, j->dy + j->b.dy.first + channel * j->b.dy.channel + s * j->b.dy.sample, plane);
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

static void chain_give_back(const chain_back *b, size_t s)
{
    const chain_input_grad *dx = &b->dx;
    size_t count = chain_count(b, s), channels = chain_filters(&dx->conv), stride = chain_stride(&dx->conv);
    float *scratch = chain_scratch(&dx->conv);
    back some = chain_tile(b, count);
    for (size_t c = 0; c < channels; c += dx->planes) {
        size_t rows = channels - c < dx->planes ? channels - c : dx->planes;
        chain_rows(&dx->conv, c, rows, 0, chain_vectors_of(b, count), scratch);
        for (size_t i = 0; i < rows; i++)
            chain_replace(dx, &some.z_size, &some.z, c + i, scratch + i * stride,
                          dx->x + dx->x_view.first + (c + i) * dx->x_view.channel + s * dx->x_view.sample);
    }
}

/* planes of scratch, whether the weight is packed, whether its gradient is, samples of a tile, words of the convolution,
 * of the block's gradient, of the weight's; whether there is an input gradient (1) and its weight is packed (2), its
 * words; sums of the block's gradient, those along its output behind them (or none), 0; then all of these.  z and dz are
 * one scratch of a tile's samples, its channels there at once where there is an input gradient.
 * Words of an input gradient: planes of its scratch, x, view of x, slope and beta (or none) of the block before, sums of
 * its gradient (or none), then the convolution's. */
static regrow_status op_chain_back(const machine *m, const uint32_t *w, uint32_t n)
{
    chain_back b;
    memset(&b, 0, sizeof b);
    regrow_status status = chain_back_prepare(m, w, n, &b);
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
