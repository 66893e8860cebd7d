/* loss.c - losses, mean over the batch, and their gradients. logits:(n, c)  y:(n,) int64 or as the prediction. */

/* How much of the target output k has for a sample of class `label`: smoothed over the `used` outputs in use. */
INLINE float target(size_t k, size_t label, float smoothing, float used, const uint8_t *active, const float *weight)
{
    float hot = k == label ? 1.0f : 0.0f;
    if (!weight) return hot;
    return ((1 - smoothing) * hot + (active[k] ? smoothing / used : 0.0f)) * weight[k];
}

static float outputs_used(const uint8_t *active, size_t count)
{
    float used = 0;
    for (size_t k = 0; k < count; k++) used += active[k] ? 1.0f : 0.0f;
    return used;
}

/* loss, probabilities (or none), logits, y, active, weight (or none: plain), n, c, smoothing. */
static regrow_status op_cross_entropy(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(9);
    size_t rows = w[6], outputs = w[7];
    TAKE(float, loss, w[0], 1);
    TAKE_MAYBE(float, p, w[1], times(rows, outputs));
    TAKE(const float, logits, w[2], times(rows, outputs));
    TAKE(const int64_t, y, w[3], rows);
    TAKE(const uint8_t, active, w[4], outputs);
    TAKE_MAYBE(const float, weight, w[5], outputs);
    float smoothing = as_float(w[8]), used = outputs_used(active, outputs), sum = 0, total = 0;
    for (size_t r = 0; r < rows; r++, logits += outputs) {
        float most = -INFINITY, raised = 0, picked = 0;
        if (y[r] < 0 || (uint64_t)y[r] >= outputs) return REGROW_E_INDEX;
        for (size_t k = 0; k < outputs; k++)
            if (active[k]) most = logits[k] > most || logits[k] != logits[k] ? logits[k] : most;
        for (size_t k = 0; k < outputs; k++) raised += active[k] ? expf(logits[k] - most) : 0;
        float log_raised = logf(raised);
        for (size_t k = 0; k < outputs; k++) {
            float share_k = target(k, (size_t)y[r], smoothing, used, active, weight);
            float log_p = active[k] ? logits[k] - most - log_raised : weight ? 0.0f : -INFINITY;
            if (share_k != 0) picked += share_k * log_p;
            if (p) p[r * outputs + k] = active[k] ? expf(log_p) : 0;
        }
        sum -= picked;
        total += weight ? weight[y[r]] : 1.0f;
    }
    *loss = sum / total;
    return REGROW_OK;
}

/* dlogits, dloss, probabilities, y, active (or none), weight (or none: plain), n, c, smoothing. */
static regrow_status op_cross_entropy_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(9);
    size_t rows = w[6], outputs = w[7];
    TAKE(float, dx, w[0], times(rows, outputs));
    TAKE(const float, dloss, w[1], 1);
    TAKE(const float, p, w[2], times(rows, outputs));
    TAKE(const int64_t, y, w[3], rows);
    TAKE_MAYBE(const uint8_t, active, w[4], outputs);
    TAKE_MAYBE(const float, weight, w[5], outputs);
    if (weight && !active) return REGROW_E_WORDS;
    float smoothing = as_float(w[8]), used = active ? outputs_used(active, outputs) : 0, total = 0;
    for (size_t r = 0; r < rows; r++) {
        if (y[r] < 0 || (uint64_t)y[r] >= outputs) return REGROW_E_INDEX;
        total += weight ? weight[y[r]] : 1.0f;
    }
    float scale = *dloss / total;
    for (size_t r = 0; r < rows; r++, dx += outputs, p += outputs) {
        float sum = 0;
        for (size_t k = 0; k < outputs; k++) sum += target(k, (size_t)y[r], smoothing, used, active, weight);
        for (size_t k = 0; k < outputs; k++)
            dx[k] = (p[k] * sum - target(k, (size_t)y[r], smoothing, used, active, weight)) * scale;
    }
    return REGROW_OK;
}

/* loss, logits, y, count.  Each output is a yes-or-no question of its own. */
static regrow_status op_bce(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(4);
    TAKE(float, loss, w[0], 1);
    TAKE(const float, x, w[1], w[3]);
    TAKE(const float, y, w[2], w[3]);
    float sum = 0;
    for (size_t i = 0; i < w[3]; i++) sum += (x[i] > 0 ? x[i] : 0) - x[i] * y[i] + log1pf(expf(-fabsf(x[i])));
    *loss = sum / (float)w[3];
    return REGROW_OK;
}

/* dx, dloss, logits, y, count. */
static regrow_status op_bce_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(5);
    TAKE(float, dx, w[0], w[4]);
    TAKE(const float, dloss, w[1], 1);
    TAKE(const float, x, w[2], w[4]);
    TAKE(const float, y, w[3], w[4]);
    float scale = *dloss / (float)w[4];
    for (size_t i = 0; i < w[4]; i++) {
        float raised = expf(-fabsf(x[i]));
        dx[i] = ((x[i] > 0 ? 1 : raised) / (1 + raised) - y[i]) * scale;
    }
    return REGROW_OK;
}

/* loss, prediction, y, count. */
static regrow_status op_mse(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(4);
    TAKE(float, loss, w[0], 1);
    TAKE(const float, x, w[1], w[3]);
    TAKE(const float, y, w[2], w[3]);
    float sum = 0;
    for (size_t i = 0; i < w[3]; i++) sum += (x[i] - y[i]) * (x[i] - y[i]);
    *loss = sum / (float)w[3];
    return REGROW_OK;
}

/* dx, dloss, prediction, y, count. */
static regrow_status op_mse_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(5);
    TAKE(float, dx, w[0], w[4]);
    TAKE(const float, dloss, w[1], 1);
    TAKE(const float, x, w[2], w[4]);
    TAKE(const float, y, w[3], w[4]);
    float scale = *dloss * 2 / (float)w[4];
    for (size_t i = 0; i < w[4]; i++) dx[i] = (x[i] - y[i]) * scale;
    return REGROW_OK;
}
