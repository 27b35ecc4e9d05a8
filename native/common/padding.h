/* How SHA-256 and SM3 end a message: a one bit, zeros, and the length in bits as 64 bits big-endian, in blocks of 64. */
#ifndef CS_COMMON_PADDING_H
#define CS_COMMON_PADDING_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CS_PADDED_BLOCK_BYTES = 64, CS_PADDING_BYTES_MIN = 9 };

/* Bytes [from, from + 64) of the padded message of this many bytes, with zeros where the message itself stands. */
static inline void cs_padding(uint8_t block[CS_PADDED_BLOCK_BYTES], size_t from, size_t total)
{
    memset(block, 0, CS_PADDED_BLOCK_BYTES);
    if (total >= from && total - from < CS_PADDED_BLOCK_BYTES) {
        block[total - from] = 0x80;
    }
    if (total + CS_PADDING_BYTES_MIN <= from + CS_PADDED_BLOCK_BYTES) {
        for (int i = 0; i < 8; i++) {
            block[CS_PADDED_BLOCK_BYTES - 1 - i] = (uint8_t)((uint64_t)total << 3 >> (8 * i));
        }
    }
}

/* Put what of a part lies in the block at from into its place; the part begins at byte `first` of the message. */
static inline void cs_padding_put(uint8_t block[CS_PADDED_BLOCK_BYTES], size_t from, const uint8_t *part, size_t first, size_t bytes)
{
    const size_t low = first > from ? first : from;
    const size_t high = first + bytes < from + CS_PADDED_BLOCK_BYTES ? first + bytes : from + CS_PADDED_BLOCK_BYTES;
    if (low < high) {
        memcpy(block + (low - from), part + (low - first), high - low);
    }
}

#endif
