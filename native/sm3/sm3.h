/* SM3 (GB/T 32905-2016), portable C11.
 *
 * Every function is total: any length, any alignment, and output may alias input. The caller owns all memory;
 * nothing allocates and nothing is global.
 */
#ifndef CS_SM3_H
#define CS_SM3_H

#include <stddef.h>
#include <stdint.h>

#define CS_SM3_BYTES 32
#define CS_SM3_BLOCK_BYTES 64

typedef struct {
    uint32_t h[8];      /* the chaining value */
    uint64_t bytes;     /* bytes taken in so far */
    uint8_t buffer[64]; /* the first bytes % 64 bytes of the block that is being filled */
} cs_sm3_ctx;

void cs_sm3_init(cs_sm3_ctx *ctx);
void cs_sm3_update(cs_sm3_ctx *ctx, const void *data, size_t n);
/* Write the digest and leave ctx unusable until the next cs_sm3_init. */
void cs_sm3_final(uint8_t out[32], cs_sm3_ctx *ctx);
/* The digest of n bytes in one call. */
void cs_sm3(uint8_t out[32], const void *data, size_t n);

/* The two layers below, for callers that lay out their own padded blocks (merkle/hash.c). */
extern const uint32_t CS_SM3_START[8];
void cs_sm3_compress(uint32_t h[8], const uint8_t *blocks, size_t count);

#endif
