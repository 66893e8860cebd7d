/* main.c - an example: learn the self-test's episode, check it, keep what was learned and take it back. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "episode.h"

/* A flash in memory, to show the callbacks. On a device they erase and write pages. */
#define PAGE 4096u
static uint8_t flash_cells[2 * ((MODEL_VALUE_BYTES + PAGE - 1) / PAGE + 1) * PAGE];

static int flash_read(void *context, uint32_t at, void *to, uint32_t bytes)
{
    memcpy(to, (const uint8_t *)context + at, bytes);
    return 0;
}

static int flash_write(void *context, uint32_t at, const void *from, uint32_t bytes)
{
    memset((uint8_t *)context + at, 0xff, PAGE);
    memcpy((uint8_t *)context + at, from, bytes);
    return 0;
}

/* The largest difference, in parts of the largest expected value but at least of 1. */
static float gap(const float *found, const float *expected, size_t count)
{
    float most = 0, scale = 1;
    for (size_t i = 0; i < count; i++) {
        float difference = fabsf(found[i] - expected[i]);
        if (!(difference <= most)) most = difference;
        if (fabsf(expected[i]) > scale) scale = fabsf(expected[i]);
    }
    return most / scale;
}

static int failed(const char *what, regrow_status status)
{
    printf("%s: status %d\n", what, (int)status);
    return 1;
}

#if defined(DUMP)
/* Everything learned, as the words it is made of, for whoever compares machines. */
static void dump(void)
{
    const uint8_t *p = (const uint8_t *)model_values();
    for (uint32_t i = 0; i + 4 <= MODEL_VALUE_BYTES; i += 4) {
        uint32_t word;
        memcpy(&word, p + i, sizeof word);
        printf("%08lx\n", (unsigned long)word);
    }
}
#endif

int main(void)
{
    static float losses[MODEL_STEPS + 1], before[MODEL_QUERIES * MODEL_OUTPUTS], after[MODEL_QUERIES * MODEL_OUTPUTS];
    const regrow_flash flash = {flash_cells, PAGE, flash_read, flash_write};
    regrow_status status;
    make_episode();
    status = model_adapt(x, y, episode_outputs, MODEL_STEPS, losses);
    if (status != REGROW_OK) return failed("adapt", status);
    status = model_predict(x, before);
    if (status != REGROW_OK) return failed("predict", status);
    status = model_save(&flash);
    if (status != REGROW_OK) return failed("save", status);
    model_reset();
    status = model_restore(&flash);
    if (status != REGROW_OK) return failed("restore", status);
    status = model_predict(x, after);
    if (status != REGROW_OK) return failed("predict", status);
    if (memcmp(before, after, sizeof after)) return failed("what was restored predicts something else", REGROW_E_FLASH);
    float loss_gap = gap(losses, TEST_LOSSES, MODEL_STEPS + 1), logit_gap = gap(after, TEST_LOGITS, MODEL_QUERIES * MODEL_OUTPUTS);
    int good = loss_gap <= TEST_TOLERANCE && logit_gap <= TEST_TOLERANCE;
#if defined(DUMP)
    dump();
#endif
    printf("%s: losses and logits within %ld and %ld millionths of what was expected: %s\n", MODEL_NAME, (long)(loss_gap * 1e6f),
           (long)(logit_gap * 1e6f), good ? "good" : "BAD");
    return good ? 0 : 1;
}
