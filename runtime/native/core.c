/* core.c - the interpreter and every kernel at one vector width. Compiled once per width, with its own names. */
#include <math.h>
#include "machine.h"
#include "uses.h"
#include "vec.h"

#include "ops/pointwise.c"
#include "ops/binary.c"
#include "ops/move.c"
#include "ops/order.c"
#include "ops/reduce.c"
#include "ops/matmul.c"
#include "ops/softmax.c"
#include "ops/normalize.c"
#include "ops/pool.c"
#include "ops/loss.c"
#include "ops/planar.c"
#include "ops/conv.c"
#include "ops/sparse.c"
#include "ops/block.c"
#include "ops/chain.c"

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
