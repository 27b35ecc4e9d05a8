/* SHA-256 (FIPS 180-4) of one message: portable C11, or the SHA extensions where common/variant.h allows them.
 *
 * Every function is total: any length, any alignment, and output may alias input. The caller owns all memory;
 * nothing allocates and nothing is global.
 */
#ifndef CS_SHA256_H
#define CS_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define CS_SHA256_BYTES 32
#define CS_SHA256_BLOCK_BYTES 64

typedef struct {
    uint32_t h[8];      /* the chaining value */
    uint64_t bytes;     /* bytes taken in so far */
    uint8_t buffer[64]; /* the first bytes % 64 bytes of the block that is being filled */
} cs_sha256_ctx;

void cs_sha256_init(cs_sha256_ctx *ctx);
void cs_sha256_update(cs_sha256_ctx *ctx, const void *data, size_t n);
/* Write the digest and leave ctx unusable until the next cs_sha256_init. */
void cs_sha256_final(uint8_t out[32], cs_sha256_ctx *ctx);
/* The digest of n bytes in one call. */
void cs_sha256(uint8_t out[32], const void *data, size_t n);

/* The two layers below, for callers that lay out their own padded blocks (merkle/hash.c). */
extern const uint32_t CS_SHA256_START[8];
void cs_sha256_compress(uint32_t h[8], const uint8_t *blocks, size_t count);

#endif
