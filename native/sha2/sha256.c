/* SHA-256 of one message. The scalar rounds: sixteen unrolled, the schedule kept in a ring of sixteen words. */
#include "sha2/sha256.h"

#include <string.h>

#include "common/padding.h"
#include "common/variant.h"
#include "sha2/sha256_lanes.h"

#define K CS_SHA256_ROUND_CONSTANTS

_Static_assert(sizeof(cs_sha256_ctx) == 104, "cs_sha256_ctx has no padding");

const uint32_t CS_SHA256_START[8] = {
    0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u,
};

const uint32_t CS_SHA256_ROUND_CONSTANTS[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u, 0xab1c5ed5u,
    0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u,
    0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u,
    0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u,
    0xa2bfe8a1u, 0xa81a664bu, 0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u,
};

static inline uint32_t rotate_right(uint32_t x, unsigned bits) { return (x >> bits) | (x << (32 - bits)); }

static inline uint32_t load_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline void store_be32(uint8_t *p, uint32_t x) {
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

/* One round. The majority is taken as ((a ^ b) & (b ^ c)) ^ b: the a ^ b of this round is the b ^ c of the next. */
#define ROUND(a, b, c, d, e, f, g, h, word, constant)                                                               \
    do {                                                                                                            \
        uint32_t t = (h) + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) +                       \
                     ((((f) ^ (g)) & (e)) ^ (g)) + (constant) + (word);                                             \
        ab = (a) ^ (b);                                                                                             \
        (d) += t;                                                                                                   \
        (h) = t + (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) + ((ab & bc) ^ (b));             \
        bc = ab;                                                                                                    \
    } while (0)

#define SMALL_0(x) (rotate_right(x, 7) ^ rotate_right(x, 18) ^ ((x) >> 3))
#define SMALL_1(x) (rotate_right(x, 17) ^ rotate_right(x, 19) ^ ((x) >> 10))
#define FIRST(i) (w[i] = load_be32(blocks + 4 * (i)))
#define NEXT(i) (w[i] += SMALL_1(w[((i) + 14) & 15]) + w[((i) + 9) & 15] + SMALL_0(w[((i) + 1) & 15]))

#define EIGHT_ROUNDS(word, i, k)                                                                                    \
    ROUND(a, b, c, d, e, f, g, h, word((i) + 0), (k)[(i) + 0]);                                                     \
    ROUND(h, a, b, c, d, e, f, g, word((i) + 1), (k)[(i) + 1]);                                                     \
    ROUND(g, h, a, b, c, d, e, f, word((i) + 2), (k)[(i) + 2]);                                                     \
    ROUND(f, g, h, a, b, c, d, e, word((i) + 3), (k)[(i) + 3]);                                                     \
    ROUND(e, f, g, h, a, b, c, d, word((i) + 4), (k)[(i) + 4]);                                                     \
    ROUND(d, e, f, g, h, a, b, c, word((i) + 5), (k)[(i) + 5]);                                                     \
    ROUND(c, d, e, f, g, h, a, b, word((i) + 6), (k)[(i) + 6]);                                                     \
    ROUND(b, c, d, e, f, g, h, a, word((i) + 7), (k)[(i) + 7])

static void compress_scalar(uint32_t state[8], const uint8_t *blocks, size_t count) {
    for (; count > 0; count--, blocks += 64) {
        uint32_t w[16];
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        uint32_t ab, bc = b ^ c;
        EIGHT_ROUNDS(FIRST, 0, K);
        EIGHT_ROUNDS(FIRST, 8, K);
        for (unsigned base = 16; base < 64; base += 16) {
            EIGHT_ROUNDS(NEXT, 0, K + base);
            EIGHT_ROUNDS(NEXT, 8, K + base);
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

void cs_sha256_compress(uint32_t state[8], const uint8_t *blocks, size_t count) {
#if defined(__x86_64__)
    if (cs_variant_sha()) {
        cs_sha256_compress_sha(state, blocks, count);
        return;
    }
#endif
    compress_scalar(state, blocks, count);
}

const uint32_t *cs_sha256_closing(size_t total) {
    static _Thread_local uint32_t words[64];
    static _Thread_local size_t kept; /* the length that words are for, plus one */
    uint8_t block[CS_PADDED_BLOCK_BYTES];
    if (kept == total + 1) {
        return words;
    }
    kept = total + 1;
    cs_padding(block, (total + CS_PADDING_BYTES_MIN - 1) / 64 * 64, total);
    for (unsigned i = 0; i < 16; i++) {
        words[i] = load_be32(block + 4 * i);
    }
    for (unsigned i = 16; i < 64; i++) {
        words[i] = words[i - 16] + SMALL_0(words[i - 15]) + words[i - 7] + SMALL_1(words[i - 2]);
    }
    for (unsigned i = 0; i < 64; i++) {
        words[i] += K[i];
    }
    return words;
}

void cs_sha256_init(cs_sha256_ctx *ctx) {
    memcpy(ctx->h, CS_SHA256_START, sizeof ctx->h);
    ctx->bytes = 0;
}

void cs_sha256_update(cs_sha256_ctx *ctx, const void *data, size_t n) {
    const uint8_t *p = data;
    size_t used = (size_t)(ctx->bytes & 63);
    if (n == 0) {
        return; /* data may then be a null pointer, which memcpy must not see */
    }
    ctx->bytes += n;
    if (used != 0) {
        size_t room = 64 - used;
        if (n < room) {
            memcpy(ctx->buffer + used, p, n);
            return;
        }
        memcpy(ctx->buffer + used, p, room);
        cs_sha256_compress(ctx->h, ctx->buffer, 1);
        p += room;
        n -= room;
    }
    cs_sha256_compress(ctx->h, p, n / 64);
    memcpy(ctx->buffer, p + (n & ~(size_t)63), n & 63);
}

void cs_sha256_final(uint8_t out[32], cs_sha256_ctx *ctx) {
    uint64_t bits = ctx->bytes << 3;
    size_t used = (size_t)(ctx->bytes & 63);
    ctx->buffer[used++] = 0x80;
    if (used > 56) {
        memset(ctx->buffer + used, 0, 64 - used);
        cs_sha256_compress(ctx->h, ctx->buffer, 1);
        used = 0;
    }
    memset(ctx->buffer + used, 0, 56 - used);
    store_be32(ctx->buffer + 56, (uint32_t)(bits >> 32));
    store_be32(ctx->buffer + 60, (uint32_t)bits);
    cs_sha256_compress(ctx->h, ctx->buffer, 1);
    for (unsigned i = 0; i < 8; i++) {
        store_be32(out + 4 * i, ctx->h[i]);
    }
}

void cs_sha256(uint8_t out[32], const void *data, size_t n) {
#if defined(__x86_64__)
    if (cs_variant_sha()) {
        cs_sha256_whole_sha(out, data, n);
        return;
    }
#endif
    const size_t rest = n & 63;
    const size_t last_blocks = rest + CS_PADDING_BYTES_MIN <= 64 ? 1 : 2;
    uint8_t last[2 * CS_PADDED_BLOCK_BYTES] = {0};
    uint32_t state[8];
    /* The last blocks are written first, so that they have reached the cache when they are read. */
    if (rest > 0) {
        memcpy(last, (const uint8_t *)data + (n - rest), rest);
    }
    last[rest] = 0x80;
    store_be32(last + 64 * last_blocks - 8, (uint32_t)((uint64_t)n >> 29));
    store_be32(last + 64 * last_blocks - 4, (uint32_t)((uint64_t)n << 3));
    memcpy(state, CS_SHA256_START, sizeof state);
    cs_sha256_compress(state, data, n / 64);
    cs_sha256_compress(state, last, last_blocks);
    for (unsigned i = 0; i < 8; i++) {
        store_be32(out + 4 * i, state[i]);
    }
}
