/* reduce.c - sums over some axes. */

/* The sum of a strided run: four partial sums, so that neither latency nor rounding piles up in one. */
static float sum_run(const float *x, size_t count, size_t stride)
{
    float s[4] = {0, 0, 0, 0};
    size_t i = 0;
    if (stride == 1) {
        vf a = {0}, b = {0};
        for (; i + 2 * VW <= count; i += 2 * VW) {
            a += load(x + i);
            b += load(x + i + VW);
        }
        s[0] = sum_lanes(a + b);
        for (; i < count; i++) s[1] += x[i];
    } else {
        for (; i + 4 <= count; i += 4)
            for (size_t k = 0; k < 4; k++) s[k] += x[(i + k) * stride];
        for (; i < count; i++) s[0] += x[i * stride];
    }
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* y, x, scale, rank of what is kept, of what is summed; sizes and strides of both.  y = scale * sum, contiguous. */
static regrow_status op_reduce(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(5);
    axes kept, summed;
    regrow_status status = axes_read(&kept, w[3], w + 5, n - 5);
    if (status != REGROW_OK) return status;
    WORDS(5 + 2 * kept.rank);
    status = axes_read(&summed, w[4], w + 5 + 2 * kept.rank, n - 5 - 2 * kept.rank);
    if (status != REGROW_OK) return status;
    WORDS(5 + 2 * kept.rank + 2 * summed.rank);
    const uint32_t *sk = w + 5 + kept.rank, *ss = sk + kept.rank + summed.rank;
    uint64_t extent = plus(axes_extent(&kept, sk), axes_extent(&summed, ss));
    TAKE(float, y, w[0], kept.total);
    TAKE(const float, x, w[1], kept.total && summed.total ? extent - 1 : 0);
    float scale = as_float(w[2]);
    size_t columns = kept.size[kept.rank - 1], step = sk[kept.rank - 1];
    size_t run = summed.size[summed.rank - 1], stride = ss[summed.rank - 1];
    for (uint64_t r = 0; r < kept.rows; r++, y += columns, axes_next(&kept)) {
        const float *row = x + axes_offset(&kept, sk);
        for (size_t i = 0; i < columns; i++) y[i] = 0;
        for (uint64_t q = 0; q < summed.rows; q++, axes_next(&summed)) {
            const float *part = row + axes_offset(&summed, ss);
            if (step == 1 && columns > 1) { /* whole rows are added up */
                for (size_t k = 0; k < run; k++)
                    LANEWISE for (size_t i = 0; i < columns; i++) y[i] += part[k * stride + i];
            } else
                for (size_t i = 0; i < columns; i++) y[i] += sum_run(part + i * step, run, stride);
        }
        LANEWISE for (size_t i = 0; i < columns; i++) y[i] *= scale;
    }
    return REGROW_OK;
}
