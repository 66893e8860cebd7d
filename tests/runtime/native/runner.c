/* runner.c - runs plans that arrive on standard input, for a core built for another machine.
 *
 * In: words, blocks and steps as 32-bit numbers, the words, then each block's size and bytes. Out: the status, then
 * the bytes of each block. Block 0 is the arena. Until the input ends. */
#include <stdio.h>
#include <stdlib.h>
#include "regrow.h"

static void *fetch(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, REGROW_ALIGNMENT, bytes + REGROW_ALIGNMENT)) exit(3);
    if (bytes && fread(p, 1, bytes, stdin) != bytes) exit(4);
    return p;
}

int main(void)
{
    uint32_t head[3];
    while (fread(head, sizeof head[0], 3, stdin) == 3) {
        uint32_t *plan = fetch(head[0] * sizeof(uint32_t));
        regrow_block *blocks = calloc(head[1] + 1, sizeof *blocks);
        if (!blocks) return 3;
        for (uint32_t i = 0; i < head[1]; i++) {
            uint32_t bytes;
            if (fread(&bytes, sizeof bytes, 1, stdin) != 1) return 4;
            blocks[i].bytes = bytes;
            blocks[i].data = fetch(bytes);
        }
        uint32_t status = (uint32_t)regrow_run(plan, head[0], blocks, head[1], head[2]);
        fwrite(&status, sizeof status, 1, stdout);
        for (uint32_t i = 0; i < head[1]; i++) {
            fwrite(blocks[i].data, 1, (size_t)blocks[i].bytes, stdout);
            free(blocks[i].data);
        }
        free(blocks);
        free(plan);
        fflush(stdout);
    }
    return 0;
}
