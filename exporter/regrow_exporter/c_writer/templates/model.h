/* model.h - @name@: learns from a few samples without an operating system. Written by regrow @version@. */
#ifndef MODEL_H
#define MODEL_H
#include "regrow/regrow.h"
#include "regrow/slots.h"

/* A sample is MODEL_INPUTS floats in the order of MODEL_INPUT_SHAPE: (v - MODEL_INPUT_MEAN) / MODEL_INPUT_STD, and
 * where v is the byte of an image, v / 255 (1 - v / 255 where MODEL_INPUT_INVERT) comes before. */
@macros@

/* Learn from MODEL_SAMPLES samples, on top of what was learned before. @about@
 * `losses` takes steps + 1 numbers: before each step, and after the last. Whatever is returned but REGROW_OK, the
 * model is as it was: REGROW_E_LOSS says that the loss or a weight was not finite or that the loss rose too far. */
regrow_status model_adapt(const float *x, const @target@ *y, uint32_t outputs, uint32_t steps, float *losses);

/* MODEL_OUTPUTS numbers for each of MODEL_QUERIES samples. */
regrow_status model_predict(const float *x, float *y);

/* Forget everything that was learned. */
void model_reset(void);

/* Keep what was learned in flash (slots.h), and take it back. Where nothing was kept, restoring returns
 * REGROW_E_EMPTY and changes nothing; where flash cannot be read, the model is reset. */
regrow_status model_save(const regrow_flash *flash);
regrow_status model_restore(const regrow_flash *flash);

/* What was learned, MODEL_VALUE_BYTES of it, or what the model came with. */
const void *model_values(void);

#endif
