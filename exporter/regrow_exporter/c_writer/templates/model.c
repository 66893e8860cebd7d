/* model.c - @name@: its plans, its weights, and what learns on them.
 *
 * Written from the bundle @digest@; write it again rather than change it. */
#include <math.h>
#include <string.h>
#include "model.h"

@plans@
@constants@
/* What adaptation changes. Of a pruned weight only what is kept. */
typedef struct {
@fields@
} values;

static const values BASE = {
    @base@
};
static values learned;
static const values *current = &BASE;

@staged@/* One block of memory for both plans: nothing in it outlives a call. */
static uint8_t arena[MODEL_ARENA_BYTES] __attribute__((aligned(64)));
@statics@
static const regrow_block ADAPT_BLOCKS[] = {
@adapt_blocks@
};

static const regrow_block PREDICT_BLOCKS[] = {
@predict_blocks@
};

#define BIND(number, pointer, size)                         \
    do {                                                    \
        blocks[number].data = (void *)(uintptr_t)(pointer); \
        blocks[number].bytes = (size);                      \
    } while (0)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef char values_are_as_stated[sizeof(values) == MODEL_VALUE_BYTES ? 1 : -1];

static int all_finite(const float *p, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(p[i])) return 0;
    return 1;
}

/* Takes over what the arena holds, but only when all of it is good. */
static regrow_status commit(const float *losses, uint32_t steps)
{
    if (!all_finite(losses, (size_t)steps + 1) || losses[steps] > losses[0] + @rise@) return REGROW_E_LOSS;
@checks@
@commits@
    current = &learned;
    return REGROW_OK;
}

regrow_status model_adapt(const float *x, const @target@ *y, uint32_t outputs, uint32_t steps, float *losses)
{
    const uint64_t samples = MODEL_SAMPLES;
    regrow_block blocks[COUNT(ADAPT_BLOCKS)];
    if (!x || !y || !losses) return REGROW_E_NULL;
    if (steps < 1 || steps > MODEL_MAX_STEPS) return REGROW_E_COUNT;
    @judge_outputs@
@prepare@
    memcpy(blocks, ADAPT_BLOCKS, sizeof blocks);
@adapt_binding@
    regrow_status status = regrow_run(ADAPT, COUNT(ADAPT), blocks, COUNT(blocks), steps);
    return status == REGROW_OK ? commit(losses, steps) : status;
}

regrow_status model_predict(const float *x, float *y)
{
    const uint64_t samples = MODEL_QUERIES;
    regrow_block blocks[COUNT(PREDICT_BLOCKS)];
    if (!x || !y) return REGROW_E_NULL;
    memcpy(blocks, PREDICT_BLOCKS, sizeof blocks);
@predict_binding@
    return regrow_run(PREDICT, COUNT(PREDICT), blocks, COUNT(blocks), 0);
}

void model_reset(void) { current = &BASE; }

const void *model_values(void) { return current; }

regrow_status model_save(const regrow_flash *flash)
{
    return regrow_save(flash, @owner@, current, sizeof *current);
}

regrow_status model_restore(const regrow_flash *flash)
{
    regrow_status status = regrow_restore(flash, @owner@, &learned, sizeof learned);
    /* An empty flash leaves `learned` alone, a faulty one need not. */
    if (status != REGROW_E_EMPTY) current = status == REGROW_OK ? &learned : &BASE;
    return status;
}
