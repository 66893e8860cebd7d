/* machine.h - what an op sees of a running plan. Private to the core. */
#ifndef REGROW_MACHINE_H
#define REGROW_MACHINE_H
#include "regrow.h"

typedef struct {
    const uint32_t *values; /* three words each: block, offset, bytes */
    uint32_t value_count;
    const regrow_block *blocks;
} machine;

typedef regrow_status (*op_function)(const machine *m, const uint32_t *w, uint32_t n);

enum { HEADER_MAGIC, HEADER_VERSION, HEADER_WORDS, HEADER_ARENA_LOW, HEADER_ARENA_HIGH, HEADER_VALUES, HEADER_BLOCKS,
       HEADER_ONCE, HEADER_STEP, HEADER_FINISH, HEADER_STEP_NUMBER, HEADER_LOSS, HEADER_LOSSES, HEADER_SIZE };
enum { VALUE_BLOCK, VALUE_OFFSET, VALUE_BYTES, VALUE_SIZE };

/* Products of sizes saturate, so that no check can be passed by wrapping around. */
static inline uint64_t times(uint64_t a, uint64_t b)
{
    uint64_t out;
    return __builtin_mul_overflow(a, b, &out) ? UINT64_MAX : out;
}

static inline uint64_t plus(uint64_t a, uint64_t b) { return a + b < a ? UINT64_MAX : a + b; }

/* Where a value lies, or NULL where it holds fewer than `count` items of `size` or is not aligned to them. */
static inline void *at(const machine *m, uint32_t ref, uint64_t count, uint32_t size)
{
    const uint32_t *v;
    uint8_t *p;
    if (ref >= m->value_count) return NULL;
    v = m->values + (size_t)ref * VALUE_SIZE;
    if (times(count, size) > v[VALUE_BYTES]) return NULL;
    p = (uint8_t *)m->blocks[v[VALUE_BLOCK]].data + v[VALUE_OFFSET];
    return ((uintptr_t)p & (size - 1u)) ? NULL : p;
}

/* Whether two values share no byte, or one is left out: what an op has judged must not change under its hands. */
static inline int apart(const machine *m, uint32_t one, uint32_t other)
{
    const uint32_t *a, *b;
    if (one >= m->value_count || other >= m->value_count) return 1;
    a = m->values + (size_t)one * VALUE_SIZE;
    b = m->values + (size_t)other * VALUE_SIZE;
    return a[VALUE_BLOCK] != b[VALUE_BLOCK] || a[VALUE_OFFSET] >= (uint64_t)b[VALUE_OFFSET] + b[VALUE_BYTES] ||
           b[VALUE_OFFSET] >= (uint64_t)a[VALUE_OFFSET] + a[VALUE_BYTES];
}

static inline float as_float(uint32_t word)
{
    union { uint32_t word; float number; } u = {word};
    return u.number;
}

#define WORDS(count) \
    if (n < (count)) return REGROW_E_WORDS
#define TAKE(type, name, ref, count)                                        \
    type *name = (type *)at(m, (ref), (count), (uint32_t)sizeof(type));     \
    if (!name) return REGROW_E_BOUNDS
/* For a value that may be left out. */
#define TAKE_MAYBE(type, name, ref, count)                                                                       \
    type *name = (ref) == REGROW_NONE ? NULL : (type *)at(m, (ref), (count), (uint32_t)sizeof(type));            \
    if ((ref) != REGROW_NONE && !name) return REGROW_E_BOUNDS
#endif
