/* Blocks of SHA-512 that are put together before they are hashed: those that do not lie whole inside a message. */
#ifndef CS_SHA512_STAGE_H
#define CS_SHA512_STAGE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sha2/sha512.h"

/* Write bytes [from, from + 128) of prefix || message || padding. */
static inline void cs_sha512_stage(uint8_t block[CS_SHA512_BLOCK_BYTES], size_t from, const uint8_t *prefix,
                                   size_t prefix_bytes, const uint8_t *message, size_t message_bytes)
{
    const size_t total = prefix_bytes + message_bytes;
    size_t at = 0;
    memset(block, 0, CS_SHA512_BLOCK_BYTES);
    if (from < prefix_bytes) { /* then from is 0: a prefix is shorter than a block */
        memcpy(block, prefix, prefix_bytes);
        at = prefix_bytes;
    }
    if (from + at < total) {
        const size_t left = total - from - at, room = CS_SHA512_BLOCK_BYTES - at;
        const size_t taken = left < room ? left : room;
        memcpy(block + at, message + (from + at - prefix_bytes), taken);
        at += taken;
    }
    if (from + at == total && at < CS_SHA512_BLOCK_BYTES) {
        block[at] = 0x80;
    }
    if (total + 17 <= from + CS_SHA512_BLOCK_BYTES) { /* the last block: the length in bits, big-endian */
        for (int i = 0; i < 8; i++) {
            block[CS_SHA512_BLOCK_BYTES - 1 - i] = (uint8_t)((uint64_t)total * 8 >> (8 * i));
        }
    }
}

#endif
