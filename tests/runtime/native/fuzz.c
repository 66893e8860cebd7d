/* fuzz.c - plans with changed words, blocks of other sizes, for libFuzzer under the sanitizers.
 *
 * An input is what runner.c reads: words, blocks and steps as 32-bit numbers, the words, then each block's size and
 * bytes. The core has to answer with a status. Every block is an allocation of its own, so that a byte before or behind
 * it is found. The upper half of `steps` chooses the width. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "regrow.h"

enum { HEAD = 3 * sizeof(uint32_t), MOST_BLOCKS = 64, MOST_STEPS = 3, WIDTHS = 4 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

static uint32_t word_at(const uint8_t *data, size_t at)
{
    uint32_t word;
    memcpy(&word, data + at, sizeof word);
    return word;
}

static void *copy_of(const uint8_t *data, size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, REGROW_ALIGNMENT, bytes)) abort();
    memcpy(p, data, bytes);
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD) return -1;
    uint32_t words = word_at(data, 0), count = word_at(data, 4), steps = word_at(data, 8);
    size_t at = HEAD;
    if (words > (size - at) / sizeof(uint32_t) || count > MOST_BLOCKS) return -1;
    uint32_t *plan = copy_of(data + at, words * sizeof(uint32_t));
    at += words * sizeof(uint32_t);
    regrow_block blocks[MOST_BLOCKS];
    uint32_t made = 0;
    for (; made < count && size - at >= sizeof(uint32_t); made++) {
        uint32_t bytes = word_at(data, at);
        at += sizeof bytes;
        if (bytes > size - at) break;
        blocks[made] = (regrow_block){copy_of(data + at, bytes), bytes};
        at += bytes;
    }
    regrow_status status = regrow_run_width((steps >> 16) % WIDTHS, plan, words, blocks, made, steps % (MOST_STEPS + 1));
    if ((unsigned)status >= REGROW_STATUS_COUNT) abort();
    while (made) free(blocks[--made].data);
    free(plan);
    return 0;
}

/* Words that sizes, strides and numbers of values go wrong at. */
static uint32_t other(uint32_t word, uint32_t random, uint32_t neighbour)
{
    static const uint32_t edges[] = {0, 1, 2, 15, 64, 0xffff, 0x10000, 0x7fffffff, 0x80000000u, 0xfffffffeu, 0xffffffffu};
    switch (random % 5) {
    case 0: return edges[(random >> 8) % (sizeof edges / sizeof *edges)];
    case 1: return word + ((random >> 8) % 7) - 3;
    case 2: return word ^ 1u << ((random >> 8) % 32);
    case 3: return neighbour;
    default: return word * 2 + ((random >> 8) & 1);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    if (size < HEAD || word_at(data, 0) > (size - HEAD) / sizeof(uint32_t)) return LLVMFuzzerMutate(data, size, most);
    size_t plan = HEAD / sizeof(uint32_t) + word_at(data, 0); /* the head's own words change, too */
    for (int left = 1 + (int)(seed % 4); left; left--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t random = (uint32_t)(state >> 32);
        if (random % 16 == 0) return LLVMFuzzerMutate(data, size, most);
        size_t at = (random >> 4) % plan, from = (random >> 16) % plan;
        uint32_t word = other(word_at(data, 4 * at), (uint32_t)(state >> 13), word_at(data, 4 * from));
        memcpy(data + 4 * at, &word, sizeof word);
    }
    return size;
}
