/* Dispatch between the two hashes, and the two domain-separated hashes of RFC 6962 trees. */
#include "merkle/hash.h"

#include <string.h>

/* Both hashes pad alike: a one bit, zeros, and the length in bits as 64 bits big-endian, in blocks of 64 bytes. */
enum { NODE_BYTES = 65, NODE_PADDED_BYTES = 128, BLOCK_BYTES = 64, LENGTH_BYTES = 8 };

/* Longest leaf that still fits two padded blocks with its prefix; longer ones take the incremental road. */
enum { LEAF_SHORT_MAX = 2 * BLOCK_BYTES - LENGTH_BYTES - 2 };

void cs_hash_init(cs_hash_ctx *ctx, uint32_t suite) {
    ctx->suite = suite;
    if (suite == CS_HASH_SM3) {
        cs_sm3_init(&ctx->as.sm3);
    } else {
        cs_sha256_init(&ctx->as.sha256);
    }
}

void cs_hash_update(cs_hash_ctx *ctx, const void *data, size_t n) {
    if (ctx->suite == CS_HASH_SM3) {
        cs_sm3_update(&ctx->as.sm3, data, n);
    } else {
        cs_sha256_update(&ctx->as.sha256, data, n);
    }
}

void cs_hash_final(uint8_t out[32], cs_hash_ctx *ctx) {
    if (ctx->suite == CS_HASH_SM3) {
        cs_sm3_final(out, &ctx->as.sm3);
    } else {
        cs_sha256_final(out, &ctx->as.sha256);
    }
}

void cs_hash(uint32_t suite, uint8_t out[32], const void *data, size_t n) {
    if (suite == CS_HASH_SM3) {
        cs_sm3(out, data, n);
    } else {
        cs_sha256(out, data, n);
    }
}

static void hash_padded(uint32_t suite, uint8_t out[32], const uint8_t *blocks, size_t count) {
    uint32_t h[8];
    if (suite == CS_HASH_SM3) {
        memcpy(h, CS_SM3_START, sizeof h);
        cs_sm3_compress(h, blocks, count);
    } else {
        memcpy(h, CS_SHA256_START, sizeof h);
        cs_sha256_compress(h, blocks, count);
    }
    for (unsigned i = 0; i < 8; i++) {
        out[4 * i] = (uint8_t)(h[i] >> 24);
        out[4 * i + 1] = (uint8_t)(h[i] >> 16);
        out[4 * i + 2] = (uint8_t)(h[i] >> 8);
        out[4 * i + 3] = (uint8_t)h[i];
    }
}

void cs_leaf_hash(uint32_t suite, uint8_t out[32], const void *data, size_t n) {
    static const uint8_t prefix = 0;
    if (n <= LEAF_SHORT_MAX) {
        uint8_t blocks[2 * BLOCK_BYTES] = {0};
        size_t count = n + 2 + LENGTH_BYTES <= BLOCK_BYTES ? 1 : 2;
        uint32_t bits = (uint32_t)(n + 1) * 8;
        if (n > 0) {
            memcpy(blocks + 1, data, n);
        }
        blocks[n + 1] = 0x80;
        blocks[count * BLOCK_BYTES - 2] = (uint8_t)(bits >> 8);
        blocks[count * BLOCK_BYTES - 1] = (uint8_t)bits;
        hash_padded(suite, out, blocks, count);
        return;
    }
    cs_hash_ctx ctx;
    cs_hash_init(&ctx, suite);
    cs_hash_update(&ctx, &prefix, 1);
    cs_hash_update(&ctx, data, n);
    cs_hash_final(out, &ctx);
}

void cs_node_hash(uint32_t suite, uint8_t out[32], const uint8_t left[32], const uint8_t right[32]) {
    uint8_t blocks[NODE_PADDED_BYTES] = {0};
    blocks[0] = 1;
    memcpy(blocks + 1, left, 32);
    memcpy(blocks + 33, right, 32);
    blocks[NODE_BYTES] = 0x80;
    blocks[NODE_PADDED_BYTES - 2] = (NODE_BYTES * 8) >> 8;
    blocks[NODE_PADDED_BYTES - 1] = (NODE_BYTES * 8) & 0xff;
    hash_padded(suite, out, blocks, 2);
}
