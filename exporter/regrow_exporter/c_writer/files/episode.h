/* episode.h - the samples that selftest.h speaks of, made where they are needed. */
#ifndef EPISODE_H
#define EPISODE_H
#include "model.h"
#include "selftest.h"

/* Sample i, element j is half its class's pattern, half noise; whole numbers only, so
 * every machine makes the same bits. */
static uint32_t mix(uint32_t counter)
{
    uint32_t z = counter * 0x9e3779b1u;
    z = (z ^ (z >> 16)) * 0x85ebca6bu;
    z = (z ^ (z >> 13)) * 0xc2b2ae35u;
    return z ^ (z >> 16);
}

static float uniform(uint32_t row, uint32_t j)
{
    return (float)(mix(mix(TEST_SEED * 65537u + row) + j) >> 8) * 0x1p-24f;
}

static float x[MODEL_SAMPLES * MODEL_INPUTS];
#if TEST_LABELLED
static int32_t y[MODEL_SAMPLES];
#else
static float y[MODEL_SAMPLES * MODEL_TARGETS];
#endif

static void make_episode(void)
{
    for (uint32_t i = 0; i < MODEL_SAMPLES; i++) {
        uint32_t label = i % TEST_WAYS;
        for (uint32_t j = 0; j < MODEL_INPUTS; j++) x[i * MODEL_INPUTS + j] = (uniform(1000 + i, j) + uniform(label, j)) * 0.5f;
#if TEST_LABELLED
        y[i] = (int32_t)label;
#endif
    }
}

static const uint32_t episode_outputs = TEST_LABELLED ? TEST_WAYS : MODEL_OUTPUTS;

#endif
