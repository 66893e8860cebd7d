/* regrow.c - the public face: a plan is judged once, then run by the widest core this machine has. */
#include <string.h>
#include "machine.h"

#define CORES_X86(X) X(baseline) X(avx2) X(avx512)
#define CORES_ONE(X) X(baseline)
#if defined(REGROW_X86_WIDTHS)
#include "cpu.h"
#define CORES(X) CORES_X86(X)
#else
#define CORES(X) CORES_ONE(X)
#endif

#define X(name) regrow_status regrow_core_##name(const machine *m, const uint32_t *list, size_t words);
CORES(X)
#undef X

typedef regrow_status (*core_function)(const machine *m, const uint32_t *list, size_t words);

static core_function core_of(uint32_t width)
{
    uint32_t i = 0;
#define X(name) \
    if (width == i++) return regrow_core_##name;
    CORES(X)
#undef X
    return NULL;
}

uint32_t regrow_width(void)
{
#if defined(REGROW_X86_WIDTHS)
    return cpu_level();
#else
    return 0;
#endif
}

const char *regrow_name(const char *list, uint32_t index)
{
    uint32_t i = 0;
    if (!list) return NULL;
#define LIST(name, ITEMS) \
    if (!strcmp(list, name)) { ITEMS(X) return NULL; }
#define X(code, text) \
    if (index == i++) return text;
    LIST("status", REGROW_STATUS)
#undef X
#define X(item) \
    if (index == i++) return #item;
    LIST("op", REGROW_OPS)
    LIST("map", REGROW_MAPS)
    LIST("map_back", REGROW_MAPS_BACK)
    LIST("binary", REGROW_BINARIES)
    LIST("width", CORES)
#undef X
    return NULL;
}

static int is_plan(const uint32_t *plan, size_t words)
{
    return plan && words >= HEADER_SIZE && plan[HEADER_MAGIC] == REGROW_PLAN_MAGIC &&
           plan[HEADER_VERSION] == REGROW_PLAN_VERSION && plan[HEADER_WORDS] == words;
}

uint64_t regrow_arena_bytes(const uint32_t *plan, size_t words)
{
    return is_plan(plan, words) ? plan[HEADER_ARENA_LOW] | (uint64_t)plan[HEADER_ARENA_HIGH] << 32 : 0;
}

/* Every value inside its block, the arena aligned and as large as planned. */
static regrow_status judge(const uint32_t *plan, size_t words, const regrow_block *blocks, size_t count, machine *m)
{
    uint64_t at_list = HEADER_SIZE;
    if (!blocks) return REGROW_E_NULL;
    if (!is_plan(plan, words)) return REGROW_E_PLAN;
    if (count == 0 || count < plan[HEADER_BLOCKS] || blocks[0].bytes < regrow_arena_bytes(plan, words)) return REGROW_E_BLOCK;
    for (size_t i = 0; i < count; i++)
        if (!blocks[i].data && blocks[i].bytes) return REGROW_E_NULL;
    if ((uintptr_t)blocks[0].data % REGROW_ALIGNMENT) return REGROW_E_ALIGN;
    at_list += (uint64_t)plan[HEADER_VALUES] * VALUE_SIZE;
    for (size_t i = 0; i < 3; i++) at_list += plan[HEADER_ONCE + i];
    if (at_list != words) return REGROW_E_PLAN;
    m->values = plan + HEADER_SIZE;
    m->value_count = plan[HEADER_VALUES];
    m->blocks = blocks;
    for (size_t i = 0; i < m->value_count; i++) {
        const uint32_t *v = m->values + i * VALUE_SIZE;
        if (v[VALUE_BLOCK] >= count) return REGROW_E_BLOCK;
        if ((uint64_t)v[VALUE_OFFSET] + v[VALUE_BYTES] > blocks[v[VALUE_BLOCK]].bytes) return REGROW_E_BLOCK;
    }
    return REGROW_OK;
}

static regrow_status run(core_function core, const uint32_t *plan, size_t words, const regrow_block *blocks, size_t count,
                         uint32_t steps)
{
    machine m;
    const uint32_t *once, *step, *finish;
    regrow_status status = judge(plan, words, blocks, count, &m);
    if (status != REGROW_OK) return status;
    if (!core) return REGROW_E_OP;
    once = m.values + (size_t)m.value_count * VALUE_SIZE;
    step = once + plan[HEADER_ONCE];
    finish = step + plan[HEADER_STEP];
    status = core(&m, once, plan[HEADER_ONCE]);
    for (uint32_t k = 0; status == REGROW_OK && k < steps && plan[HEADER_STEP]; k++) {
        if (plan[HEADER_STEP_NUMBER] != REGROW_NONE) {
            int64_t *number = (int64_t *)at(&m, plan[HEADER_STEP_NUMBER], 1, sizeof(int64_t));
            if (!number) return REGROW_E_BOUNDS;
            *number = k;
        }
        status = core(&m, step, plan[HEADER_STEP]);
        if (status == REGROW_OK && plan[HEADER_LOSS] != REGROW_NONE) {
            float *loss = (float *)at(&m, plan[HEADER_LOSS], 1, sizeof(float));
            const regrow_block *losses = plan[HEADER_LOSSES] < count ? blocks + plan[HEADER_LOSSES] : NULL;
            if (!loss || !losses || losses->bytes / sizeof(float) <= k) return REGROW_E_BOUNDS;
            ((float *)losses->data)[k] = *loss;
        }
    }
    return status == REGROW_OK ? core(&m, finish, plan[HEADER_FINISH]) : status;
}

regrow_status regrow_run(const uint32_t *plan, size_t words, const regrow_block *blocks, size_t count, uint32_t steps)
{
    return run(core_of(regrow_width()), plan, words, blocks, count, steps);
}

regrow_status regrow_run_width(uint32_t width, const uint32_t *plan, size_t words, const regrow_block *blocks, size_t count,
                               uint32_t steps)
{
    return run(core_of(width), plan, words, blocks, count, steps);
}
