/* axes.c - a walk over the elements of values that broadcast against each other. */

/* Sizes and strides of a broadcast, in elements; odometer over all axes but the last. */
typedef struct {
    uint32_t rank;
    uint32_t size[REGROW_MAX_RANK];
    size_t at[REGROW_MAX_RANK];
    uint64_t rows, total;
} axes;

/* `words` of them are left to read. */
static regrow_status axes_read(axes *a, uint32_t rank, const uint32_t *sizes, uint32_t words)
{
    if (rank == 0 || rank > REGROW_MAX_RANK || rank > words) return REGROW_E_WORDS;
    a->rank = rank;
    a->rows = 1;
    for (uint32_t i = 0; i < rank; i++) {
        a->size[i] = sizes[i];
        a->at[i] = 0;
        if (i + 1 < rank) a->rows = times(a->rows, sizes[i]);
    }
    a->total = times(a->rows, sizes[rank - 1]);
    return REGROW_OK;
}

/* How many elements an operand with these strides must have. */
static uint64_t axes_extent(const axes *a, const uint32_t *stride)
{
    uint64_t last = 0;
    if (a->total == 0) return 0;
    for (uint32_t i = 0; i < a->rank; i++) last = plus(last, times(a->size[i] - 1u, stride[i]));
    return plus(last, 1);
}

static size_t axes_offset(const axes *a, const uint32_t *stride)
{
    size_t offset = 0;
    for (uint32_t i = 0; i + 1 < a->rank; i++) offset += a->at[i] * stride[i];
    return offset;
}

static void axes_next(axes *a)
{
    for (uint32_t i = a->rank - 1; i-- > 0;) {
        if (++a->at[i] < a->size[i]) return;
        a->at[i] = 0;
    }
}
