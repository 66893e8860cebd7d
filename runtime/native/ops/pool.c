/* pool.c - pooling of any window over planes of h x w. Block.c holds the 2x2 windows that follow a norm. */

typedef struct {
    size_t planes, h, w, oh, ow, kh, kw, sh, sw, ph, pw;
} windows;

enum { WINDOW_WORDS = 11 };

static windows windows_read(const uint32_t *w)
{
    windows g = {w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10]};
    return g;
}

/* The part of window `o` inside an axis: [*from, *to). */
INLINE void window(size_t o, size_t stride, size_t padding, size_t kernel, size_t size, size_t *from, size_t *to)
{
    size_t first = o * stride, last = first + kernel;
    *from = first > padding ? first - padding : 0;
    *to = last > padding ? last - padding : 0;
    if (*from > size) *from = size;
    if (*to > size) *to = size;
}

/* y, x, windows.  A not-a-number wins, as it does in numpy. */
static regrow_status op_pool_max(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(2 + WINDOW_WORDS);
    windows g = windows_read(w + 2);
    TAKE(float, y, w[0], times(g.planes, times(g.oh, g.ow)));
    TAKE(const float, x, w[1], times(g.planes, times(g.h, g.w)));
    for (size_t p = 0; p < g.planes; p++, x += g.h * g.w)
        for (size_t i = 0; i < g.oh; i++)
            for (size_t j = 0; j < g.ow; j++) {
                size_t r0, r1, c0, c1;
                float best = -INFINITY;
                window(i, g.sh, g.ph, g.kh, g.h, &r0, &r1);
                window(j, g.sw, g.pw, g.kw, g.w, &c0, &c1);
                for (size_t r = r0; r < r1; r++)
                    for (size_t c = c0; c < c1; c++) {
                        float v = x[r * g.w + c];
                        best = v > best || v != v ? v : best;
                    }
                *y++ = best;
            }
    return REGROW_OK;
}

/* dx, dy, x, windows.  The first of the largest takes all. */
static regrow_status op_pool_max_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(3 + WINDOW_WORDS);
    windows g = windows_read(w + 3);
    TAKE(float, dx, w[0], times(g.planes, times(g.h, g.w)));
    TAKE(const float, dy, w[1], times(g.planes, times(g.oh, g.ow)));
    TAKE(const float, x, w[2], times(g.planes, times(g.h, g.w)));
    for (size_t p = 0; p < g.planes; p++, x += g.h * g.w, dx += g.h * g.w) {
        memset(dx, 0, g.h * g.w * sizeof(float));
        for (size_t i = 0; i < g.oh; i++)
            for (size_t j = 0; j < g.ow; j++, dy++) {
                size_t r0, r1, c0, c1, found = 0;
                float best = -INFINITY;
                int any = 0;
                window(i, g.sh, g.ph, g.kh, g.h, &r0, &r1);
                window(j, g.sw, g.pw, g.kw, g.w, &c0, &c1);
                for (size_t r = r0; r < r1; r++)
                    for (size_t c = c0; c < c1; c++) {
                        float v = x[r * g.w + c];
                        if (!any || v > best || (v != v && best == best)) {
                            best = v;
                            found = r * g.w + c;
                            any = 1;
                        }
                    }
                if (any) dx[found] += *dy;
            }
    }
    return REGROW_OK;
}

/* By how much the sum over a window is divided. */
INLINE float share(const windows *g, size_t r0, size_t r1, size_t c0, size_t c1, int count_padding)
{
    size_t count = count_padding ? g->kh * g->kw : (r1 - r0) * (c1 - c0);
    return 1 / (float)count;
}

/* y, x, windows, count_padding. */
static regrow_status op_pool_avg(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(3 + WINDOW_WORDS);
    windows g = windows_read(w + 2);
    TAKE(float, y, w[0], times(g.planes, times(g.oh, g.ow)));
    TAKE(const float, x, w[1], times(g.planes, times(g.h, g.w)));
    int count_padding = w[2 + WINDOW_WORDS] != 0;
    for (size_t p = 0; p < g.planes; p++, x += g.h * g.w)
        for (size_t i = 0; i < g.oh; i++)
            for (size_t j = 0; j < g.ow; j++) {
                size_t r0, r1, c0, c1;
                float sum = 0;
                window(i, g.sh, g.ph, g.kh, g.h, &r0, &r1);
                window(j, g.sw, g.pw, g.kw, g.w, &c0, &c1);
                for (size_t r = r0; r < r1; r++)
                    for (size_t c = c0; c < c1; c++) sum += x[r * g.w + c];
                *y++ = sum * share(&g, r0, r1, c0, c1, count_padding);
            }
    return REGROW_OK;
}

/* dx, dy, windows, count_padding. */
static regrow_status op_pool_avg_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(3 + WINDOW_WORDS);
    windows g = windows_read(w + 2);
    TAKE(float, dx, w[0], times(g.planes, times(g.h, g.w)));
    TAKE(const float, dy, w[1], times(g.planes, times(g.oh, g.ow)));
    int count_padding = w[2 + WINDOW_WORDS] != 0;
    for (size_t p = 0; p < g.planes; p++, dx += g.h * g.w) {
        memset(dx, 0, g.h * g.w * sizeof(float));
        for (size_t i = 0; i < g.oh; i++)
            for (size_t j = 0; j < g.ow; j++, dy++) {
                size_t r0, r1, c0, c1;
                window(i, g.sh, g.ph, g.kh, g.h, &r0, &r1);
                window(j, g.sw, g.pw, g.kw, g.w, &c0, &c1);
                float part = *dy * share(&g, r0, r1, c0, c1, count_padding);
                for (size_t r = r0; r < r1; r++)
                    for (size_t c = c0; c < c1; c++) dx[r * g.w + c] += part;
            }
    }
    return REGROW_OK;
}
