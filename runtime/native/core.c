/* core.c - the interpreter and every kernel at one vector width. Compiled once per width, with its own names. */
#include <math.h>
#include "machine.h"
#include "uses.h"
#include "vec.h"

#include "ops/axes.c"
#include "ops/matmul.c"
#include "ops/planar.c"
#include "ops/conv.c"
#include "ops/sparse.c"
#include "ops/winograd.c"
#include "ops/block.c"
#include "ops/half.c"
#include "ops/chain.c"

#if defined(REGROW_NARROW)
/* Ops that gain nothing from width are left to the narrowest core, so that a library of several widths stays small. */
regrow_status REGROW_NARROW(const machine *m, const uint32_t *list, size_t words);
static regrow_status narrow(const machine *m, const uint32_t *w, uint32_t n) { return REGROW_NARROW(m, w - 2, (size_t)n + 2); }
#define op_map narrow
#define op_map_back narrow
#define op_binary narrow
#define op_select narrow
#define op_cast narrow
#define op_fill narrow
#define op_copy narrow
#define op_gather narrow
#define op_argsort narrow
#define op_reduce narrow
#define op_softmax narrow
#define op_softmax_back narrow
#define op_normalize narrow
#define op_normalize_back narrow
#define op_pool_max narrow
#define op_pool_max_back narrow
#define op_pool_avg narrow
#define op_pool_avg_back narrow
#define op_cross_entropy narrow
#define op_cross_entropy_back narrow
#define op_bce narrow
#define op_bce_back narrow
#define op_mse narrow
#define op_mse_back narrow
#define op_pick narrow
#define op_place narrow
#define op_update narrow
#else
#include "ops/pointwise.c"
#include "ops/binary.c"
#include "ops/move.c"
#include "ops/order.c"
#include "ops/reduce.c"
#include "ops/softmax.c"
#include "ops/normalize.c"
#include "ops/pool.c"
#include "ops/loss.c"
#endif

static const op_function FUNCTIONS[] = {
#define X(name) USES_OP_##name ? op_##name : NULL,
    REGROW_OPS(X)
#undef X
};
enum { FUNCTION_COUNT = sizeof FUNCTIONS / sizeof FUNCTIONS[0] };

/* A list of ops: its length in words, then per op its code, how many words follow, and those. */
regrow_status REGROW_CORE(const machine *m, const uint32_t *list, size_t words);
regrow_status REGROW_CORE(const machine *m, const uint32_t *list, size_t words)
{
    size_t i = 0;
    while (i + 2 <= words) {
        uint32_t code = list[i], n = list[i + 1];
        regrow_status status;
        if (code >= FUNCTION_COUNT || !FUNCTIONS[code]) return REGROW_E_OP;
        if (n > words - i - 2) return REGROW_E_WORDS;
        status = FUNCTIONS[code](m, list + i + 2, n);
        if (status != REGROW_OK) return status;
        i += 2 + (size_t)n;
    }
    return i == words ? REGROW_OK : REGROW_E_WORDS;
}
