/* normalize.c - zero mean and unit variance of each of `rows` runs of `size`, and the gradient. */

/* y, rstd (or none), x, rows, size, eps. */
static regrow_status op_normalize(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    TAKE(float, y, w[0], times(w[3], w[4]));
    TAKE_MAYBE(float, rstd, w[1], w[3]);
    TAKE(const float, x, w[2], times(w[3], w[4]));
    size_t size = w[4];
    float eps = as_float(w[5]);
    for (size_t r = 0; r < w[3]; r++, x += size, y += size) {
        float mean = sum_run(x, size, 1) / (float)size;
        for (size_t i = 0; i < size; i++) y[i] = (x[i] - mean) * (x[i] - mean);
        float scale = 1 / sqrtf(sum_run(y, size, 1) / (float)size + eps);
        for (size_t i = 0; i < size; i++) y[i] = (x[i] - mean) * scale;
        if (rstd) rstd[r] = scale;
    }
    return REGROW_OK;
}

/* dx, dy, y, rstd, rows, size.  Neither dy nor y is dx. */
static regrow_status op_normalize_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    TAKE(float, dx, w[0], times(w[4], w[5]));
    TAKE(const float, dy, w[1], times(w[4], w[5]));
    TAKE(const float, y, w[2], times(w[4], w[5]));
    TAKE(const float, rstd, w[3], w[4]);
    size_t size = w[5];
    for (size_t r = 0; r < w[4]; r++, dx += size, dy += size, y += size) {
        for (size_t i = 0; i < size; i++) dx[i] = dy[i] * y[i];
        float along = sum_run(dx, size, 1) / (float)size, mean = sum_run(dy, size, 1) / (float)size;
        for (size_t i = 0; i < size; i++) dx[i] = (dy[i] - mean - y[i] * along) * rstd[r];
    }
    return REGROW_OK;
}
