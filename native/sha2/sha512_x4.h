/* SHA-512 of four messages of one length, in the four lanes of AVX2.
 *
 * As sha512_x8.h, for CPUs that have no AVX-512: call it only where the CPU has AVX2. Caller owns all memory; nothing
 * allocates and nothing fails. Buffers need no alignment; out must not overlap them. Time depends on lengths only. */
#ifndef CS_SHA512_X4_H
#define CS_SHA512_X4_H

#include "sha2/sha512_x8.h"

/* out[i] = SHA-512(prefixes[i] || messages[i]) as eight little-endian limbs of one 512-bit number. */
void cs_sha512_x4(uint64_t out[4][8], const uint8_t prefixes[4][CS_SHA512_X8_PREFIX_BYTES_MAX], size_t prefix_bytes,
                  const uint8_t *const messages[4], size_t message_bytes);

#endif
