/* regrow.h - run a plan inside one caller-owned arena. No malloc, no stdio, no globals, no recursion.
 *
 * A plan is an array of 32-bit words (docs/native.md): a header, a table of values, three lists of ops.
 * Every byte an op touches lies inside one of the blocks the caller hands over; block 0 is the arena. A plan
 * is never trusted: an op whose operands are too small for its sizes returns REGROW_E_BOUNDS and touches nothing.
 */
#ifndef REGROW_H
#define REGROW_H
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define REGROW_PUBLIC __attribute__((visibility("default")))
#else
#define REGROW_PUBLIC
#endif

#define REGROW_PLAN_MAGIC 0x52475257u
#define REGROW_PLAN_VERSION 1u
#define REGROW_ALIGNMENT 64u /* of the arena's address, and of every offset into it */
#define REGROW_NONE 0xffffffffu /* "no such value", where one may be left out */
#define REGROW_MAX_RANK 8u

/* Code and text of a status, once. */
#define REGROW_STATUS(X)                                              \
    X(OK, "ok")                                                       \
    X(E_NULL, "a null pointer")                                       \
    X(E_PLAN, "not a plan of this version, or cut short")             \
    X(E_OP, "an op code this core does not have")                     \
    X(E_WORDS, "an op with too few words, or a word out of range")    \
    X(E_BLOCK, "a block that is missing or smaller than planned")     \
    X(E_BOUNDS, "an op that would leave its operands")                \
    X(E_ALIGN, "an arena or a value that is not aligned")             \
    X(E_INDEX, "a label or a row number out of range")                \
    X(E_COUNT, "a number of steps, outputs or bytes out of range")    \
    X(E_LOSS, "a loss or weight that is not finite, or a loss that rose too far") \
    X(E_FLASH, "flash that could not be read or written")             \
    X(E_EMPTY, "nothing saved that belongs here")

/* Every op of a plan. Code and name, once; the planner asks for the names. */
#define REGROW_OPS(X)                                                                                      \
    X(map) X(map_back) X(binary) X(select) X(cast) X(fill) X(copy) X(gather) X(argsort)                    \
    X(reduce) X(gemm) X(softmax) X(softmax_back) X(normalize) X(normalize_back)                            \
    X(pool_max) X(pool_max_back) X(pool_avg) X(pool_avg_back)                                              \
    X(cross_entropy) X(cross_entropy_back) X(bce) X(bce_back) X(mse) X(mse_back)                           \
    X(pack) X(unpack) X(scrub) X(channel_sum)                                                              \
    X(conv) X(conv_dw) X(conv_sparse) X(conv_sparse_dw) X(winograd) X(winograd_dw)                         \
    X(block) X(block_back) X(chain) X(chain_back)                                                          \
    X(chain_half) X(chain_back_half) X(shorten) X(widen) X(stored) X(pick) X(place) X(update)

/* What `map`, `map_back` and `binary` compute; named as the ops of a program are. */
#define REGROW_MAPS(X)                                                                                     \
    X(identity) X(relu) X(leaky_relu) X(tanh) X(sigmoid) X(silu) X(hardsigmoid) X(hardswish) X(elu)        \
    X(softplus) X(gelu) X(gelu_tanh) X(exp) X(log) X(sqrt) X(abs) X(sign) X(clip) X(neg)
#define REGROW_MAPS_BACK(X)                                                                                \
    X(relu_back) X(leaky_relu_back) X(tanh_back) X(sigmoid_back) X(silu_back) X(hardsigmoid_back)          \
    X(hardswish_back) X(elu_back) X(softplus_back) X(gelu_back) X(gelu_tanh_back) X(clip_back)
#define REGROW_BINARIES(X)                                                                                 \
    X(add) X(sub) X(mul) X(div) X(pow_tensor) X(greater) X(greater_equal) X(equal)                         \
    X(add_int64) X(sub_int64) X(mul_int64) X(floor_divide) X(remainder) X(greater_int64)                   \
    X(greater_equal_int64) X(equal_int64) X(logical_and) X(logical_or) X(logical_not)

typedef enum {
#define X(code, text) REGROW_##code,
    REGROW_STATUS(X)
#undef X
    REGROW_STATUS_COUNT
} regrow_status;

typedef struct {
    void *data;
    uint64_t bytes;
} regrow_block;

/* Bytes of arena that a plan needs; 0 for what is no plan. */
REGROW_PUBLIC uint64_t regrow_arena_bytes(const uint32_t *plan, size_t words);

/* Run a plan: its first list once, the second `steps` times, the third once. */
REGROW_PUBLIC regrow_status regrow_run(const uint32_t *plan, size_t words, const regrow_block *blocks, size_t count, uint32_t steps);

/* The same by a stated width, 0 being the plainest: at most what `regrow_width` says, which whoever calls often asks once. */
REGROW_PUBLIC regrow_status regrow_run_width(uint32_t width, const uint32_t *plan, size_t words, const regrow_block *blocks, size_t count,
                               uint32_t steps);

/* Names, NULL past the end of the list: "status", "op", "map", "map_back", "binary", "width". */
REGROW_PUBLIC const char *regrow_name(const char *list, uint32_t index);

/* The width `regrow_run` uses here. It asks the processor each time, which takes microseconds on a virtual machine. */
REGROW_PUBLIC uint32_t regrow_width(void);

#endif
