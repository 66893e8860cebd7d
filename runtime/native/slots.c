/* slots.c - the two slots of slots.h. */
#include <string.h>
#include "slots.h"

enum { MAGIC, SEQUENCE, OWNER_LOW, OWNER_HIGH, BYTES, DATA_SUM, SPARE, HEADER_SUM, HEADER_WORDS };
enum { SLOTS = 2, PIECE = 64 }; /* a piece is what is read at once, on the stack */
#define SLOT_MAGIC 0x52475357u

typedef struct {
    uint32_t word[HEADER_WORDS];
} header;

/* CRC-32 (polynomial 0xedb88320), continued from an earlier one; 0 begins. */
static uint32_t checksum(uint32_t sum, const void *data, uint32_t bytes)
{
    const uint8_t *p = (const uint8_t *)data;
    sum = ~sum;
    for (uint32_t i = 0; i < bytes; i++) {
        sum ^= p[i];
        for (int k = 0; k < 8; k++) sum = (sum >> 1) ^ (0xedb88320u & (0u - (sum & 1u)));
    }
    return ~sum;
}

static uint32_t slot_bytes(const regrow_flash *f, uint32_t bytes)
{
    return f->page_bytes * (1 + bytes / f->page_bytes + (bytes % f->page_bytes != 0));
}

uint32_t regrow_slots_bytes(const regrow_flash *flash, uint32_t bytes)
{
    if (!flash || flash->page_bytes < REGROW_SLOT_HEADER) return 0;
    uint64_t whole = SLOTS * ((uint64_t)bytes + 2 * (uint64_t)flash->page_bytes);
    return whole > UINT32_MAX ? 0 : SLOTS * slot_bytes(flash, bytes);
}

/* The checksum of what lies in flash. */
static int checksum_there(const regrow_flash *f, uint32_t at, uint32_t bytes, uint32_t *sum)
{
    uint8_t piece[PIECE];
    *sum = 0;
    for (uint32_t done = 0; done < bytes; done += PIECE) {
        uint32_t some = bytes - done < PIECE ? bytes - done : PIECE;
        if (f->read(f->context, at + done, piece, some)) return 0;
        *sum = checksum(*sum, piece, some);
    }
    return 1;
}

/* Whether a slot holds bytes of this owner and size; `h` is then its header. */
static regrow_status slot_read(const regrow_flash *f, uint32_t at, uint64_t owner, uint32_t bytes, header *h)
{
    uint32_t sum;
    if (f->read(f->context, at, h, sizeof *h)) return REGROW_E_FLASH;
    if (h->word[MAGIC] != SLOT_MAGIC || h->word[HEADER_SUM] != checksum(0, h, HEADER_SUM * sizeof(uint32_t)) ||
        h->word[OWNER_LOW] != (uint32_t)owner || h->word[OWNER_HIGH] != (uint32_t)(owner >> 32) || h->word[BYTES] != bytes)
        return REGROW_E_EMPTY;
    if (!checksum_there(f, at + f->page_bytes, bytes, &sum)) return REGROW_E_FLASH;
    return sum == h->word[DATA_SUM] ? REGROW_OK : REGROW_E_EMPTY;
}

/* The slot that was filled last, or SLOTS where none is, and the one to fill next. */
static regrow_status newest(const regrow_flash *f, uint64_t owner, uint32_t bytes, uint32_t *slot, uint32_t *next, header *found)
{
    regrow_status status[SLOTS];
    *slot = SLOTS;
    for (uint32_t i = 0; i < SLOTS; i++) {
        header h;
        status[i] = slot_read(f, i * slot_bytes(f, bytes), owner, bytes, &h);
        /* Sequence numbers wrap around: the difference tells which is later. */
        if (status[i] == REGROW_OK && (*slot == SLOTS || (int32_t)(h.word[SEQUENCE] - found->word[SEQUENCE]) > 0)) {
            *slot = i;
            *found = h;
        }
    }
    *next = *slot == 0 || (*slot == SLOTS && status[0] == REGROW_E_FLASH);
    if (*slot < SLOTS) return REGROW_OK;
    /* What cannot be read may be what power failed in: that is no reason to refuse the other slot. */
    return status[0] == REGROW_E_FLASH || status[1] == REGROW_E_FLASH ? REGROW_E_FLASH : REGROW_E_EMPTY;
}

regrow_status regrow_save(const regrow_flash *flash, uint64_t owner, const void *data, uint32_t bytes)
{
    header last = {{0}}, made = {{0}}, blank = {{0}};
    uint32_t slot, next, sum;
    if (!flash || !data || !flash->read || !flash->write) return REGROW_E_NULL;
    if (!regrow_slots_bytes(flash, bytes)) return REGROW_E_COUNT;
    (void)newest(flash, owner, bytes, &slot, &next, &last);
    uint32_t at = next * slot_bytes(flash, bytes), page = flash->page_bytes;
    if (flash->write(flash->context, at, &blank, sizeof blank)) return REGROW_E_FLASH;
    for (uint32_t done = 0; done < bytes; done += page) {
        uint32_t some = bytes - done < page ? bytes - done : page;
        if (flash->write(flash->context, at + page + done, (const uint8_t *)data + done, some)) return REGROW_E_FLASH;
    }
    made.word[MAGIC] = SLOT_MAGIC;
    made.word[SEQUENCE] = last.word[SEQUENCE] + 1;
    made.word[OWNER_LOW] = (uint32_t)owner;
    made.word[OWNER_HIGH] = (uint32_t)(owner >> 32);
    made.word[BYTES] = bytes;
    made.word[DATA_SUM] = checksum(0, data, bytes);
    made.word[HEADER_SUM] = checksum(0, &made, HEADER_SUM * sizeof(uint32_t));
    if (!checksum_there(flash, at + page, bytes, &sum) || sum != made.word[DATA_SUM]) return REGROW_E_FLASH;
    if (flash->write(flash->context, at, &made, sizeof made)) return REGROW_E_FLASH;
    return slot_read(flash, at, owner, bytes, &made) == REGROW_OK ? REGROW_OK : REGROW_E_FLASH;
}

regrow_status regrow_restore(const regrow_flash *flash, uint64_t owner, void *data, uint32_t bytes)
{
    header found = {{0}};
    uint32_t slot, next;
    if (!flash || !data || !flash->read) return REGROW_E_NULL;
    if (!regrow_slots_bytes(flash, bytes)) return REGROW_E_COUNT;
    regrow_status status = newest(flash, owner, bytes, &slot, &next, &found);
    if (status != REGROW_OK) return status;
    uint32_t at = slot * slot_bytes(flash, bytes) + flash->page_bytes;
    if (flash->read(flash->context, at, data, bytes)) return REGROW_E_FLASH;
    return checksum(0, data, bytes) == found.word[DATA_SUM] ? REGROW_OK : REGROW_E_FLASH;
}
