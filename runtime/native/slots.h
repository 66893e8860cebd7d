/* slots.h - keep bytes in two slots of flash, so that a loss of power at any point leaves the old ones or the new.
 *
 * A slot is a page for its header and pages for the bytes. Saving takes the slot that does not hold the newest
 * bytes: its header is cleared, the bytes are written and read back, the header comes last. What a header says is
 * believed only where the checksums of both fit.
 */
#ifndef REGROW_SLOTS_H
#define REGROW_SLOTS_H
#include "regrow.h"

/* Two callbacks, 0 when done. Places count from the first page that is set aside. */
typedef struct {
    void *context;
    uint32_t page_bytes; /* erased and written as one; at least REGROW_SLOT_HEADER */
    int (*read)(void *context, uint32_t at, void *to, uint32_t bytes);
    /* Erase the page that begins at `at`, write its first `bytes`; what the rest of it holds does not matter. */
    int (*write)(void *context, uint32_t at, const void *from, uint32_t bytes);
} regrow_flash;

#define REGROW_SLOT_HEADER 32u

/* Bytes of flash to set aside for keeping `bytes`, whole pages; 0 where a page is too small or they are too many. */
uint32_t regrow_slots_bytes(const regrow_flash *flash, uint32_t bytes);

/* Keep bytes; `owner` says what they belong to. REGROW_E_FLASH where they could not be written or read back, and
 * then the ones kept before still are. */
regrow_status regrow_save(const regrow_flash *flash, uint64_t owner, const void *data, uint32_t bytes);

/* The bytes kept last. REGROW_E_EMPTY where none of this owner and size are; `data` is then untouched.
 * REGROW_E_FLASH where flash cannot be read, or not twice the same: `data` is then undefined. */
regrow_status regrow_restore(const regrow_flash *flash, uint64_t owner, void *data, uint32_t bytes);

#endif
