/* In place of SM3 and SHA-256, for cases that no message leads to: the digest is the first 32 bytes of the message.
 *
 * SM3 comes with Z, 32 bytes, before every message, and those are passed over; SHA-256 hashes a message alone. Linked
 * instead of native/sm3 and native/sha2/sha256*, so that batches meet every digest that a test chooses. Nothing can be
 * signed with it: nonces come from the same functions. */
#include <string.h>

#include "sha2/sha256.h"
#include "sha2/sha256_x16.h"
#include "sm3/sm3.h"
#include "sm3/sm3_x16.h"

enum { Z_BYTES = 32, DIGEST_BYTES = 32, LANES = 16 };

const uint32_t CS_SM3_START[8] = {0}, CS_SHA256_START[8] = {0};

/* Keep bytes skip to skip + 32 of the stream in the context, whose buffer is large enough for them. */
static void keep(uint8_t *buffer, uint64_t *seen, const uint8_t *data, size_t n, size_t skip)
{
    for (size_t i = 0; i < n; i++, (*seen)++) {
        if (*seen >= skip && *seen < skip + DIGEST_BYTES) {
            buffer[*seen - skip] = data[i];
        }
    }
}

static void lanes(uint8_t *const out[LANES], const uint8_t *const heads[LANES], size_t head_bytes,
                  const uint8_t *const bodies[LANES], size_t body_bytes, size_t skip)
{
    for (size_t lane = 0; lane < LANES; lane++) {
        uint8_t digest[DIGEST_BYTES] = {0};
        uint64_t seen = 0;
        if (head_bytes > 0) {
            keep(digest, &seen, heads[lane], head_bytes, skip);
        }
        keep(digest, &seen, bodies[lane], body_bytes, skip);
        memcpy(out[lane], digest, sizeof digest);
    }
}

void cs_sm3_init(cs_sm3_ctx *ctx) { memset(ctx, 0, sizeof *ctx); }

void cs_sm3_update(cs_sm3_ctx *ctx, const void *data, size_t n) { keep(ctx->buffer, &ctx->bytes, data, n, Z_BYTES); }

void cs_sm3_final(uint8_t out[32], cs_sm3_ctx *ctx) { memcpy(out, ctx->buffer, DIGEST_BYTES); }

void cs_sm3(uint8_t out[32], const void *data, size_t n)
{
    cs_sm3_ctx ctx;
    cs_sm3_init(&ctx);
    cs_sm3_update(&ctx, data, n);
    cs_sm3_final(out, &ctx);
}

void cs_sm3_compress(uint32_t h[8], const uint8_t *blocks, size_t count)
{
    (void)h;
    (void)blocks;
    (void)count;
}

void cs_sm3_x16(uint8_t *const out[LANES], const uint8_t *const heads[LANES], size_t head_bytes,
                const uint8_t *const bodies[LANES], size_t body_bytes)
{
    lanes(out, heads, head_bytes, bodies, body_bytes, Z_BYTES);
}

void cs_sha256_init(cs_sha256_ctx *ctx) { memset(ctx, 0, sizeof *ctx); }

void cs_sha256_update(cs_sha256_ctx *ctx, const void *data, size_t n) { keep(ctx->buffer, &ctx->bytes, data, n, 0); }

void cs_sha256_final(uint8_t out[32], cs_sha256_ctx *ctx) { memcpy(out, ctx->buffer, DIGEST_BYTES); }

void cs_sha256(uint8_t out[32], const void *data, size_t n)
{
    cs_sha256_ctx ctx;
    cs_sha256_init(&ctx);
    cs_sha256_update(&ctx, data, n);
    cs_sha256_final(out, &ctx);
}

void cs_sha256_compress(uint32_t h[8], const uint8_t *blocks, size_t count)
{
    (void)h;
    (void)blocks;
    (void)count;
}

void cs_sha256_x16(uint8_t *const out[LANES], const uint8_t *const heads[LANES], size_t head_bytes,
                   const uint8_t *const bodies[LANES], size_t body_bytes)
{
    lanes(out, heads, head_bytes, bodies, body_bytes, 0);
}

/* Lanes are never the faster way here, and always allowed. */
size_t cs_sha256_x16_worth(void) { return 1; }

size_t cs_sm3_x16_worth(void) { return 1; }
