/* softmax.c - softmax and log_softmax over one axis: (outer, size, inner), and their gradients. */

/* logarithm, y, x, outer, size, inner. */
static regrow_status op_softmax(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    uint64_t total = times(times(w[3], w[4]), w[5]);
    TAKE(float, y, w[1], total);
    TAKE(const float, x, w[2], total);
    size_t size = w[4], inner = w[5];
    for (size_t o = 0; o < w[3] && size; o++)
        for (size_t i = 0; i < inner; i++) {
            const float *xi = x + o * size * inner + i;
            float *yi = y + o * size * inner + i;
            float most = xi[0], sum = 0;
            for (size_t k = 1; k < size; k++) most = xi[k * inner] > most ? xi[k * inner] : most;
            for (size_t k = 0; k < size; k++) {
                float shifted = xi[k * inner] - most, raised = expf(shifted);
                sum += raised;
                yi[k * inner] = w[0] ? shifted : raised;
            }
            float last = w[0] ? logf(sum) : 1 / sum;
            for (size_t k = 0; k < size; k++) yi[k * inner] = w[0] ? yi[k * inner] - last : yi[k * inner] * last;
        }
    return REGROW_OK;
}

/* logarithm, dx, dy, y, outer, size, inner. */
static regrow_status op_softmax_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(7);
    uint64_t total = times(times(w[4], w[5]), w[6]);
    TAKE(float, dx, w[1], total);
    TAKE(const float, dy, w[2], total);
    TAKE(const float, y, w[3], total);
    size_t size = w[5], inner = w[6];
    for (size_t o = 0; o < w[4]; o++)
        for (size_t i = 0; i < inner; i++) {
            size_t first = o * size * inner + i;
            float sum = 0;
            for (size_t k = 0, j = first; k < size; k++, j += inner) sum += w[0] ? dy[j] : dy[j] * y[j];
            for (size_t k = 0, j = first; k < size; k++, j += inner)
                dx[j] = w[0] ? dy[j] - expf(y[j]) * sum : y[j] * (dy[j] - sum);
        }
    return REGROW_OK;
}
