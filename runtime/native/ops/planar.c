/* planar.c - planes on a shared grid: [channel][sample][row][column], each row followed by zero columns and each
 * sample by zero rows, so that a tap of a convolution is one constant offset and every kernel a loop in one dimension. */

/* Where element (sample, channel, row, column) lies: first + c * channel + s * sample + r * row + column. */
typedef struct {
    size_t first, channel, sample, row;
} view;

enum { VIEW_WORDS = 4 };

typedef struct {
    size_t samples, channels, rows, columns;
} extent4;

static view view_read(const uint32_t *w)
{
    view v = {w[0], w[1], w[2], w[3]};
    return v;
}

static extent4 extent_read(const uint32_t *w)
{
    extent4 e = {w[0], w[1], w[2], w[3]};
    return e;
}

static uint64_t view_extent(const view *v, const extent4 *e)
{
    if (!e->samples || !e->channels || !e->rows || !e->columns) return 0;
    uint64_t last = plus(v->first, times(e->channels - 1, v->channel));
    last = plus(last, plus(times(e->samples - 1, v->sample), times(e->rows - 1, v->row)));
    return plus(last, e->columns);
}

INLINE void zero(float *p, size_t count) { memset(p, 0, count * sizeof(float)); }

/* What lies behind the rows of one plane: of every sample, and the end of the channel. */
static void scrub_below(float *plane, const view *v, const extent4 *e)
{
    for (size_t s = 0; s < e->samples; s++) zero(plane + s * v->sample + e->rows * v->row, v->sample - e->rows * v->row);
    zero(plane + e->samples * v->sample, v->channel - e->samples * v->sample);
}

/* What lies around the elements of one plane: columns, rows, the end of the channel. */
static void scrub_plane(float *plane, const view *v, const extent4 *e)
{
    for (size_t s = 0; s < e->samples; s++)
        for (size_t r = 0; r < e->rows; r++)
            for (size_t i = e->columns; i < v->row; i++) plane[s * v->sample + r * v->row + i] = 0;
    scrub_below(plane, v, e);
}

static void scrub_guards(float *y, const view *v, const extent4 *e, size_t total)
{
    size_t end = v->first + e->channels * v->channel;
    zero(y, v->first);
    zero(y + end, total - end);
}

/* Everything of a buffer of `total` floats that is no element. */
static void scrub_around(float *y, const view *v, const extent4 *e, size_t total)
{
    scrub_guards(y, v, e, total);
    for (size_t c = 0; c < e->channels; c++) scrub_plane(y + v->first + c * v->channel, v, e);
}

/* Whether elements, pads and guards of a grid lie in this order inside `total` floats. */
static int is_grid(const view *v, const extent4 *e, uint64_t total)
{
    return e->columns <= v->row && times(e->rows, v->row) <= v->sample && times(e->samples, v->sample) <= v->channel &&
           plus(v->first, times(e->channels, v->channel)) <= total;
}

/* y, x, extents of x, view of x, view of y, floats of y, phases down and across.
 * With a stride of s, s * s planes per channel take every s-th row and column. */
static regrow_status op_pack(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(17);
    extent4 e = extent_read(w + 2), planes = e;
    view from = view_read(w + 6), to = view_read(w + 10);
    size_t sh = w[15], sw = w[16];
    TAKE(float, y, w[0], w[14]);
    TAKE(const float, x, w[1], view_extent(&from, &e));
    if (!sh || !sw || times(e.channels, times(sh, sw)) > UINT32_MAX) return REGROW_E_WORDS;
    planes.channels = e.channels * sh * sw;
    planes.rows = (e.rows + sh - 1) / sh;
    planes.columns = (e.columns + sw - 1) / sw;
    if (!is_grid(&to, &planes, w[14])) return REGROW_E_BOUNDS;
    if (sh > 1 || sw > 1) zero(y, w[14]);
    else scrub_around(y, &to, &planes, w[14]);
    for (size_t c = 0; c < e.channels; c++)
        for (size_t s = 0; s < e.samples; s++)
            for (size_t r = 0; r < e.rows; r++) {
                const float *row = x + from.first + c * from.channel + s * from.sample + r * from.row;
                for (size_t p = 0; p < sw; p++) {
                    size_t plane = (c * sh + r % sh) * sw + p;
                    float *out = y + to.first + plane * to.channel + s * to.sample + r / sh * to.row;
                    if (sw == 1) memmove(out, row, e.columns * sizeof(float));
                    else
                        for (size_t i = p, k = 0; i < e.columns; i += sw, k++) out[k] = row[i];
                }
            }
    return REGROW_OK;
}

/* y, x, extents of y, view of y, view of x, phases down and across.  The inverse of pack. */
static regrow_status op_unpack(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(16);
    extent4 e = extent_read(w + 2), planes = e;
    view to = view_read(w + 6), from = view_read(w + 10);
    size_t sh = w[14], sw = w[15];
    if (!sh || !sw || times(e.channels, times(sh, sw)) > UINT32_MAX) return REGROW_E_WORDS;
    planes.channels = e.channels * sh * sw;
    planes.rows = (e.rows + sh - 1) / sh;
    planes.columns = (e.columns + sw - 1) / sw;
    TAKE(float, y, w[0], view_extent(&to, &e));
    TAKE(const float, x, w[1], view_extent(&from, &planes));
    for (size_t s = 0; s < e.samples; s++)
        for (size_t c = 0; c < e.channels; c++)
            for (size_t r = 0; r < e.rows; r++) {
                float *row = y + to.first + c * to.channel + s * to.sample + r * to.row;
                for (size_t p = 0; p < sw; p++) {
                    size_t plane = (c * sh + r % sh) * sw + p;
                    const float *in = x + from.first + plane * from.channel + s * from.sample + r / sh * from.row;
                    if (sw == 1) memmove(row, in, e.columns * sizeof(float));
                    else
                        for (size_t i = p, k = 0; i < e.columns; i += sw, k++) row[i] = in[k];
                }
            }
    return REGROW_OK;
}

/* y, extents, view, floats of y. */
static regrow_status op_scrub(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(10);
    extent4 e = extent_read(w + 1);
    view v = view_read(w + 5);
    TAKE(float, y, w[0], w[9]);
    if (!is_grid(&v, &e, w[9])) return REGROW_E_BOUNDS;
    scrub_around(y, &v, &e, w[9]);
    return REGROW_OK;
}

/* y, x, extents, view.  y[c] = the sum over samples, rows, columns. */
static regrow_status op_channel_sum(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(10);
    extent4 e = extent_read(w + 2);
    view v = view_read(w + 6);
    TAKE(float, y, w[0], e.channels);
    TAKE(const float, x, w[1], view_extent(&v, &e));
    for (size_t c = 0; c < e.channels; c++) {
        vf sum = {0};
        for (size_t s = 0; s < e.samples; s++)
            for (size_t r = 0; r < e.rows; r++) {
                const float *row = x + v.first + c * v.channel + s * v.sample + r * v.row;
                for (size_t i = 0; i < e.columns; i += VW) sum += load_some(row + i, e.columns - i);
            }
        y[c] = sum_lanes(sum);
    }
    return REGROW_OK;
}
