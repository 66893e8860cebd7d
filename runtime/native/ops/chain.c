/* chain.c - a convolution and the block behind it, a few channels at a time in a scratch of as many planes: what lies
 * between them is never kept whole. Backward makes it again, and the weight gradient takes dz from the scratch. */

typedef struct {
    uint32_t sparse;
    conv_job dense;
    sparse_job kept;
} chain_conv;

static regrow_status chain_prepare(const machine *m, const uint32_t *w, uint32_t n, uint32_t sparse, size_t planes, chain_conv *c)
{
    /* Only one of the two jobs is read, which a compiler that inlines all of this cannot tell. */
    memset(c, 0, sizeof *c);
    c->sparse = sparse;
    if (sparse) return sparse_prepare(m, w, n, planes, &c->kept);
    regrow_status status = conv_prepare(m, w, n, planes, &c->dense);
    return status == REGROW_OK && c->dense.groups != 1 ? REGROW_E_WORDS : status;
}

static size_t chain_filters(const chain_conv *c) { return c->sparse ? c->kept.rows : c->dense.f.rows; }
static float *chain_scratch(const chain_conv *c) { return c->sparse ? c->kept.y : c->dense.y; }
static size_t chain_stride(const chain_conv *c) { return c->sparse ? c->kept.y_channel : c->dense.f.y_channel; }

static void chain_rows(const chain_conv *c, size_t first, size_t count, float *y)
{
    if (c->sparse) sparse_rows(&c->kept, first, count, y);
    else conv_rows(&c->dense, first, count, y);
}

/* planes of scratch, whether the weight is packed, words of the convolution, those, the block's. */
static regrow_status op_chain(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(3);
    size_t planes = w[0];
    chain_conv conv;
    block_job block;
    if (!planes || w[2] > n - 3) return REGROW_E_WORDS;
    regrow_status status = chain_prepare(m, w + 3, w[2], w[1], planes, &conv);
    if (status == REGROW_OK) status = block_prepare(m, w + 3 + w[2], n - 3 - w[2], planes, &block);
    if (status != REGROW_OK) return status;
    float *scratch = chain_scratch(&conv);
    size_t filters = chain_filters(&conv);
    if (filters != block.size.channels || block.z + block.z_view.first != scratch || block.z_view.channel != chain_stride(&conv))
        return REGROW_E_WORDS;
    for (size_t c = 0; c < filters; c += planes) {
        size_t some = filters - c < planes ? filters - c : planes;
        chain_rows(&conv, c, some, scratch);
        for (size_t i = 0; i < some; i++) block_channel(&block, c + i, scratch + i * block.z_view.channel);
    }
    return REGROW_OK;
}

/* planes of scratch, whether the weight is packed, whether its gradient is, words of the convolution, of the block's
 * gradient, then all three.  z and dz are one scratch. */
static regrow_status op_chain_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(5);
    size_t planes = w[0];
    chain_conv conv;
    back_job block;
    grad_job dense;
    sparse_grad_job kept;
    memset(&dense, 0, sizeof dense);
    memset(&kept, 0, sizeof kept);
    if (!planes || w[3] > n - 5 || w[4] > n - 5 - w[3]) return REGROW_E_WORDS;
    const uint32_t *last = w + 5 + w[3] + w[4];
    uint32_t left = n - 5 - w[3] - w[4];
    regrow_status status = chain_prepare(m, w + 5, w[3], w[1], planes, &conv);
    if (status == REGROW_OK) status = back_prepare(m, w + 5 + w[3], w[4], planes, &block);
    if (status != REGROW_OK) return status;
    status = w[2] ? sparse_grad_prepare(m, last, left, planes, &kept) : grad_prepare(m, last, left, planes, &dense);
    if (status != REGROW_OK) return status;
    float *scratch = chain_scratch(&conv);
    size_t filters = chain_filters(&conv), stride = chain_stride(&conv);
    if (filters != block.b.z_size.channels || block.z + block.b.z.first != scratch || block.b.z.channel != stride ||
        block.dz + block.b.dz.first != scratch || block.b.dz.channel != stride)
        return REGROW_E_WORDS;
    if (w[2] ? kept.rows != filters || kept.dy != scratch || kept.dy_channel != stride
             : dense.f.rows != filters || dense.dy != scratch || dense.f.y_channel != stride || dense.groups != 1)
        return REGROW_E_WORDS;
    if (w[2]) zero(kept.g, kept.kept);
    else zero(dense.g, dense.size);
    for (size_t c = 0; c < filters; c += planes) {
        size_t some = filters - c < planes ? filters - c : planes;
        chain_rows(&conv, c, some, scratch);
        for (size_t i = 0; i < some; i++) back_channel(&block, c + i, scratch + i * stride, scratch + i * stride);
        if (w[2]) sparse_grad_rows(&kept, c, some, scratch);
        else grad_rows(&dense, c, some, scratch);
    }
    return REGROW_OK;
}
