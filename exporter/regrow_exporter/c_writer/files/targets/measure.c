/* measure.c - instructions and stack of learning and predicting on a board in QEMU, where one takes one nanosecond. */
#include <stdio.h>
#include "episode.h"

uint32_t stack_used(void);

/* The board's 25 MHz counter: 40 instructions a tick. */
static uint32_t ticks(void) { return *(volatile const uint32_t *)BOARD_COUNTER; }

int main(void)
{
    static float losses[4], logits[MODEL_QUERIES * MODEL_OUTPUTS];
    const uint32_t more = MODEL_MAX_STEPS < 3 ? 1 : 3;
    make_episode();
    uint32_t began = ticks();
    regrow_status one = model_adapt(x, y, episode_outputs, 1, losses);
    uint32_t after_one = ticks();
    regrow_status many = model_adapt(x, y, episode_outputs, more, losses);
    uint32_t after_many = ticks();
    regrow_status predicted = model_predict(x, logits);
    uint32_t after_predict = ticks(), stack = stack_used();
    uint32_t first = after_one - began, rest = after_many - after_one;
    uint32_t step = more > 1 ? (rest - first) / (more - 1) : first;
    printf("adapt_1 %lu\nstep %lu\npredict %lu\nstack %lu\n", 40ul * first, 40ul * step, 40ul * (after_predict - after_many),
           (unsigned long)stack);
    return one != REGROW_OK || many != REGROW_OK || predicted != REGROW_OK;
}
