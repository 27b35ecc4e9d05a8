/* SHA-512 (FIPS 180-4), scalar and incremental.
 *
 * Caller owns all memory; nothing allocates and nothing fails. Buffers need no alignment; out must not overlap data.
 * Time depends on lengths only, never on content. */
#ifndef CS_SHA512_H
#define CS_SHA512_H

#include <stddef.h>
#include <stdint.h>

enum { CS_SHA512_BYTES = 64, CS_SHA512_BLOCK_BYTES = 128 };

/* FIPS 180-4, sections 4.2.3 and 5.3.5, for every variant. */
extern const uint64_t cs_sha512_round_constants[80];
extern const uint64_t cs_sha512_initial[8];

typedef struct {
    uint64_t state[8];
    uint64_t total_bytes; /* a message here stays below 2^61 bytes */
    uint8_t block[CS_SHA512_BLOCK_BYTES];
} cs_sha512_ctx;

void cs_sha512_init(cs_sha512_ctx *ctx);
void cs_sha512_update(cs_sha512_ctx *ctx, const uint8_t *data, size_t data_bytes);
/* Write the digest; ctx needs a new init before it is used again. */
void cs_sha512_final(cs_sha512_ctx *ctx, uint8_t out[CS_SHA512_BYTES]);
/* init, update and final in one. */
void cs_sha512(uint8_t out[CS_SHA512_BYTES], const uint8_t *data, size_t data_bytes);

#endif
