/* order.c - where the numbers of a row stand in order. Of equals the first comes first; NaN comes last. */

typedef struct {
    const float *x; /* or NULL, and then: */
    const int64_t *whole;
    int descending;
} row_of;

static int comes_before(const row_of *row, int64_t i, int64_t j)
{
    int less, more;
    if (row->x) {
        float a = row->x[i], b = row->x[j];
        if (isnan(a) || isnan(b)) return isnan(a) && isnan(b) ? i < j : isnan(b);
        less = a < b, more = b < a;
    } else {
        less = row->whole[i] < row->whole[j], more = row->whole[j] < row->whole[i];
    }
    if (less || more) return row->descending ? more : less;
    return i < j;
}

/* Let the position at `top` of a heap sink; the last of the order is at its root. */
static void sink(int64_t *heap, size_t top, size_t size, const row_of *row)
{
    int64_t moved = heap[top];
    for (size_t child = 2 * top + 1; child < size; child = 2 * top + 1) {
        if (child + 1 < size && comes_before(row, heap[child], heap[child + 1])) child++;
        if (!comes_before(row, moved, heap[child])) break;
        heap[top] = heap[child];
        top = child;
    }
    heap[top] = moved;
}

/* y, x, rows, size of a row, descending, whole numbers.  A heap sort: in place, and its order is total, so it is stable. */
static regrow_status op_argsort(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    uint64_t total = times(w[2], w[3]);
    TAKE(int64_t, y, w[0], total);
    size_t size = w[3];
    row_of row = {NULL, NULL, w[4] != 0};
    if (w[5]) {
        TAKE(const int64_t, x, w[1], total);
        row.whole = x;
    } else {
        TAKE(const float, x, w[1], total);
        row.x = x;
    }
    for (size_t r = 0; r < w[2]; r++, y += size) {
        for (size_t i = 0; i < size; i++) y[i] = (int64_t)i;
        for (size_t i = size / 2; i-- > 0;) sink(y, i, size, &row);
        for (size_t left = size; left-- > 1;) {
            int64_t last = y[0];
            y[0] = y[left];
            y[left] = last;
            sink(y, 0, left, &row);
        }
        if (row.x) row.x += size;
        else row.whole += size;
    }
    return REGROW_OK;
}
