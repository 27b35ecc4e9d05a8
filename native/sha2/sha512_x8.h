/* SHA-512 of eight messages of one length, in the eight lanes of AVX-512.
 *
 * Call it only where the CPU has AVX-512 F, BW, DQ and VL. Caller owns all memory; nothing allocates and nothing fails.
 * Buffers need no alignment; out must not overlap them. Time depends on lengths only, never on content. */
#ifndef CS_SHA512_X8_H
#define CS_SHA512_X8_H

#include <stddef.h>
#include <stdint.h>

enum { CS_SHA512_X8_PREFIX_BYTES_MAX = 64 };

/* out[i] = SHA-512(prefixes[i] || messages[i]) as eight little-endian limbs of one 512-bit number.
 * prefixes: the first prefix_bytes (at most CS_SHA512_X8_PREFIX_BYTES_MAX) of each row. messages[i] is not read when
 * message_bytes is 0. */
void cs_sha512_x8(uint64_t out[8][8], const uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX], size_t prefix_bytes,
                  const uint8_t *const messages[8], size_t message_bytes);

#endif
