/* The scalar SM3. The expanded words live in a ring of sixteen; W'_j is W_j ^ W_(j+4), so words run four ahead. */
#include "sm3/sm3.h"

#include <string.h>

#include "common/padding.h"
#include "sm3/sm3_lanes.h"

#define T CS_SM3_ROUND_CONSTANTS

_Static_assert(sizeof(cs_sm3_ctx) == 104, "cs_sm3_ctx has no padding");

const uint32_t CS_SM3_START[8] = {
    0x7380166fu, 0x4914b2b9u, 0x172442d7u, 0xda8a0600u, 0xa96f30bcu, 0x163138aau, 0xe38dee4du, 0xb0fb0e4eu,
};

/* 5.3.3 of the standard, done ahead: T is 79cc4519 for j < 16, then 7a879d8a. */
const uint32_t CS_SM3_ROUND_CONSTANTS[64] = {
    0x79cc4519u, 0xf3988a32u, 0xe7311465u, 0xce6228cbu, 0x9cc45197u, 0x3988a32fu, 0x7311465eu, 0xe6228cbcu,
    0xcc451979u, 0x988a32f3u, 0x311465e7u, 0x6228cbceu, 0xc451979cu, 0x88a32f39u, 0x11465e73u, 0x228cbce6u,
    0x9d8a7a87u, 0x3b14f50fu, 0x7629ea1eu, 0xec53d43cu, 0xd8a7a879u, 0xb14f50f3u, 0x629ea1e7u, 0xc53d43ceu,
    0x8a7a879du, 0x14f50f3bu, 0x29ea1e76u, 0x53d43cecu, 0xa7a879d8u, 0x4f50f3b1u, 0x9ea1e762u, 0x3d43cec5u,
    0x7a879d8au, 0xf50f3b14u, 0xea1e7629u, 0xd43cec53u, 0xa879d8a7u, 0x50f3b14fu, 0xa1e7629eu, 0x43cec53du,
    0x879d8a7au, 0x0f3b14f5u, 0x1e7629eau, 0x3cec53d4u, 0x79d8a7a8u, 0xf3b14f50u, 0xe7629ea1u, 0xcec53d43u,
    0x9d8a7a87u, 0x3b14f50fu, 0x7629ea1eu, 0xec53d43cu, 0xd8a7a879u, 0xb14f50f3u, 0x629ea1e7u, 0xc53d43ceu,
    0x8a7a879du, 0x14f50f3bu, 0x29ea1e76u, 0x53d43cecu, 0xa7a879d8u, 0x4f50f3b1u, 0x9ea1e762u, 0x3d43cec5u,
};

static inline uint32_t rotate_left(uint32_t x, unsigned bits) { return (x << bits) | (x >> (32 - bits)); }

static inline uint32_t load_be32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static inline void store_be32(uint8_t *p, uint32_t x) {
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

#define P0(x) ((x) ^ rotate_left(x, 9) ^ rotate_left(x, 17))
#define P1(x) ((x) ^ rotate_left(x, 15) ^ rotate_left(x, 23))
#define FF_FIRST(x, y, z) ((x) ^ (y) ^ (z))
#define GG_FIRST(x, y, z) ((x) ^ (y) ^ (z))
#define FF_LATER(x, y, z) (((x) & (y)) | (((x) | (y)) & (z)))
#define GG_LATER(x, y, z) ((((y) ^ (z)) & (x)) ^ (z))

/* One round; the names rotate by one place from round to round, so that no word is moved. */
#define ROUND(a, b, c, d, e, f, g, h, ff, gg, constant, word, word_4)                                               \
    do {                                                                                                            \
        uint32_t a12 = rotate_left(a, 12);                                                                          \
        uint32_t ss1 = rotate_left(a12 + (e) + (constant), 7);                                                      \
        uint32_t tt1 = ff(a, b, c) + (d) + (ss1 ^ a12) + ((word) ^ (word_4));                                       \
        uint32_t tt2 = gg(e, f, g) + (h) + ss1 + (word);                                                            \
        (b) = rotate_left(b, 9);                                                                                    \
        (d) = tt1;                                                                                                  \
        (f) = rotate_left(f, 19);                                                                                   \
        (h) = P0(tt2);                                                                                              \
    } while (0)

/* Expand the word four places ahead of round j: index j + 4 of the ring takes W_(j+4). */
#define LOADED(j) (w[(j) & 15])
#define EXPANDED(j)                                                                                                 \
    (w[(j) & 15] = P1(w[(j) & 15] ^ w[((j) + 7) & 15] ^ rotate_left(w[((j) + 13) & 15], 15)) ^                      \
                   rotate_left(w[((j) + 3) & 15], 7) ^ w[((j) + 10) & 15])

#define FOUR_ROUNDS(j, ff, gg, ahead)                                                                               \
    ROUND(a, b, c, d, e, f, g, h, ff, gg, T[(j) + 0], w[((j) + 0) & 15], ahead((j) + 4));                           \
    ROUND(d, a, b, c, h, e, f, g, ff, gg, T[(j) + 1], w[((j) + 1) & 15], ahead((j) + 5));                           \
    ROUND(c, d, a, b, g, h, e, f, ff, gg, T[(j) + 2], w[((j) + 2) & 15], ahead((j) + 6));                           \
    ROUND(b, c, d, a, f, g, h, e, ff, gg, T[(j) + 3], w[((j) + 3) & 15], ahead((j) + 7))

void cs_sm3_compress(uint32_t state[8], const uint8_t *blocks, size_t count) {
    for (; count > 0; count--, blocks += 64) {
        uint32_t w[16];
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (unsigned i = 0; i < 16; i++) {
            w[i] = load_be32(blocks + 4 * i);
        }
        FOUR_ROUNDS(0, FF_FIRST, GG_FIRST, LOADED);
        FOUR_ROUNDS(4, FF_FIRST, GG_FIRST, LOADED);
        FOUR_ROUNDS(8, FF_FIRST, GG_FIRST, LOADED);
        FOUR_ROUNDS(12, FF_FIRST, GG_FIRST, EXPANDED);
        for (unsigned j = 16; j < 64; j += 16) {
            FOUR_ROUNDS(j, FF_LATER, GG_LATER, EXPANDED);
            FOUR_ROUNDS(j + 4, FF_LATER, GG_LATER, EXPANDED);
            FOUR_ROUNDS(j + 8, FF_LATER, GG_LATER, EXPANDED);
            FOUR_ROUNDS(j + 12, FF_LATER, GG_LATER, EXPANDED);
        }
        state[0] ^= a, state[1] ^= b, state[2] ^= c, state[3] ^= d;
        state[4] ^= e, state[5] ^= f, state[6] ^= g, state[7] ^= h;
    }
}

const cs_sm3_words *cs_sm3_closing(size_t total) {
    static _Thread_local cs_sm3_words expanded;
    static _Thread_local size_t kept; /* the length that the words are for, plus one */
    uint32_t *const words = expanded.words;
    uint8_t block[CS_PADDED_BLOCK_BYTES];
    if (kept == total + 1) {
        return &expanded;
    }
    kept = total + 1;
    cs_padding(block, (total + CS_PADDING_BYTES_MIN - 1) / 64 * 64, total);
    for (unsigned i = 0; i < 16; i++) {
        words[i] = load_be32(block + 4 * i);
    }
    for (unsigned i = 16; i < 68; i++) {
        words[i] = P1(words[i - 16] ^ words[i - 9] ^ rotate_left(words[i - 3], 15)) ^ rotate_left(words[i - 13], 7) ^
                   words[i - 6];
    }
    for (unsigned i = 0; i < 64; i++) {
        expanded.mixed[i] = words[i] ^ words[i + 4];
    }
    return &expanded;
}

void cs_sm3_init(cs_sm3_ctx *ctx) {
    memcpy(ctx->h, CS_SM3_START, sizeof ctx->h);
    ctx->bytes = 0;
}

void cs_sm3_update(cs_sm3_ctx *ctx, const void *data, size_t n) {
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
        cs_sm3_compress(ctx->h, ctx->buffer, 1);
        p += room;
        n -= room;
    }
    cs_sm3_compress(ctx->h, p, n / 64);
    memcpy(ctx->buffer, p + (n & ~(size_t)63), n & 63);
}

void cs_sm3_final(uint8_t out[32], cs_sm3_ctx *ctx) {
    uint64_t bits = ctx->bytes << 3;
    size_t used = (size_t)(ctx->bytes & 63);
    ctx->buffer[used++] = 0x80;
    if (used > 56) {
        memset(ctx->buffer + used, 0, 64 - used);
        cs_sm3_compress(ctx->h, ctx->buffer, 1);
        used = 0;
    }
    memset(ctx->buffer + used, 0, 56 - used);
    store_be32(ctx->buffer + 56, (uint32_t)(bits >> 32));
    store_be32(ctx->buffer + 60, (uint32_t)bits);
    cs_sm3_compress(ctx->h, ctx->buffer, 1);
    for (unsigned i = 0; i < 8; i++) {
        store_be32(out + 4 * i, ctx->h[i]);
    }
}

void cs_sm3(uint8_t out[32], const void *data, size_t n) {
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
    memcpy(state, CS_SM3_START, sizeof state);
    cs_sm3_compress(state, data, n / 64);
    cs_sm3_compress(state, last, last_blocks);
    for (unsigned i = 0; i < 8; i++) {
        store_be32(out + 4 * i, state[i]);
    }
}
