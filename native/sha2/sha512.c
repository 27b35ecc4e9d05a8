/* SHA-512 as FIPS 180-4 section 6.4 states it, with the message schedule kept in a ring of sixteen words. */
#include "sha2/sha512.h"

#include <string.h>

/* Section 4.2.3: the fractional parts of the cube roots of the first eighty primes; 5.3.5: of the square roots of the
 * first eight. */
const uint64_t cs_sha512_round_constants[80] = {
    0x428a2f98d728ae22u, 0x7137449123ef65cdu, 0xb5c0fbcfec4d3b2fu, 0xe9b5dba58189dbbcu,
    0x3956c25bf348b538u, 0x59f111f1b605d019u, 0x923f82a4af194f9bu, 0xab1c5ed5da6d8118u,
    0xd807aa98a3030242u, 0x12835b0145706fbeu, 0x243185be4ee4b28cu, 0x550c7dc3d5ffb4e2u,
    0x72be5d74f27b896fu, 0x80deb1fe3b1696b1u, 0x9bdc06a725c71235u, 0xc19bf174cf692694u,
    0xe49b69c19ef14ad2u, 0xefbe4786384f25e3u, 0x0fc19dc68b8cd5b5u, 0x240ca1cc77ac9c65u,
    0x2de92c6f592b0275u, 0x4a7484aa6ea6e483u, 0x5cb0a9dcbd41fbd4u, 0x76f988da831153b5u,
    0x983e5152ee66dfabu, 0xa831c66d2db43210u, 0xb00327c898fb213fu, 0xbf597fc7beef0ee4u,
    0xc6e00bf33da88fc2u, 0xd5a79147930aa725u, 0x06ca6351e003826fu, 0x142929670a0e6e70u,
    0x27b70a8546d22ffcu, 0x2e1b21385c26c926u, 0x4d2c6dfc5ac42aedu, 0x53380d139d95b3dfu,
    0x650a73548baf63deu, 0x766a0abb3c77b2a8u, 0x81c2c92e47edaee6u, 0x92722c851482353bu,
    0xa2bfe8a14cf10364u, 0xa81a664bbc423001u, 0xc24b8b70d0f89791u, 0xc76c51a30654be30u,
    0xd192e819d6ef5218u, 0xd69906245565a910u, 0xf40e35855771202au, 0x106aa07032bbd1b8u,
    0x19a4c116b8d2d0c8u, 0x1e376c085141ab53u, 0x2748774cdf8eeb99u, 0x34b0bcb5e19b48a8u,
    0x391c0cb3c5c95a63u, 0x4ed8aa4ae3418acbu, 0x5b9cca4f7763e373u, 0x682e6ff3d6b2b8a3u,
    0x748f82ee5defb2fcu, 0x78a5636f43172f60u, 0x84c87814a1f0ab72u, 0x8cc702081a6439ecu,
    0x90befffa23631e28u, 0xa4506cebde82bde9u, 0xbef9a3f7b2c67915u, 0xc67178f2e372532bu,
    0xca273eceea26619cu, 0xd186b8c721c0c207u, 0xeada7dd6cde0eb1eu, 0xf57d4f7fee6ed178u,
    0x06f067aa72176fbau, 0x0a637dc5a2c898a6u, 0x113f9804bef90daeu, 0x1b710b35131c471bu,
    0x28db77f523047d84u, 0x32caab7b40c72493u, 0x3c9ebe0a15c9bebcu, 0x431d67c49c100d4cu,
    0x4cc5d4becb3e42b6u, 0x597f299cfc657e2au, 0x5fcb6fab3ad6faecu, 0x6c44198c4a475817u,
};

const uint64_t cs_sha512_initial[8] = {
    0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u,
};

static inline uint64_t rotate_right(uint64_t word, unsigned count) { return (word >> count) | (word << (64 - count)); }

static inline uint64_t load_big_endian(const uint8_t bytes[8])
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) {
        word = word << 8 | bytes[i];
    }
    return word;
}

static inline void store_big_endian(uint8_t bytes[8], uint64_t word)
{
    for (int i = 7; i >= 0; i--) {
        bytes[i] = (uint8_t)word;
        word >>= 8;
    }
}

static inline uint64_t large_sigma_0(uint64_t x) { return rotate_right(x, 28) ^ rotate_right(x, 34) ^ rotate_right(x, 39); }
static inline uint64_t large_sigma_1(uint64_t x) { return rotate_right(x, 14) ^ rotate_right(x, 18) ^ rotate_right(x, 41); }
static inline uint64_t small_sigma_0(uint64_t x) { return rotate_right(x, 1) ^ rotate_right(x, 8) ^ (x >> 7); }
static inline uint64_t small_sigma_1(uint64_t x) { return rotate_right(x, 19) ^ rotate_right(x, 61) ^ (x >> 6); }

/* One round without moving the eight variables: the caller rotates their names instead. */
#define ROUND_STEP(a, b, c, d, e, f, g, h, i)                                                            \
    do {                                                                                                 \
        const uint64_t choice = (g) ^ ((e) & ((f) ^ (g)));                                               \
        const uint64_t t = (h) + large_sigma_1(e) + choice + cs_sha512_round_constants[i] + w[(i) & 15]; \
        (d) += t;                                                                                        \
        (h) = t + large_sigma_0(a) + (((a) & (b)) | ((c) & ((a) | (b))));                                \
    } while (0)

#define EIGHT_ROUNDS(i)                              \
    do {                                             \
        ROUND_STEP(a, b, c, d, e, f, g, h, (i) + 0); \
        ROUND_STEP(h, a, b, c, d, e, f, g, (i) + 1); \
        ROUND_STEP(g, h, a, b, c, d, e, f, (i) + 2); \
        ROUND_STEP(f, g, h, a, b, c, d, e, (i) + 3); \
        ROUND_STEP(e, f, g, h, a, b, c, d, (i) + 4); \
        ROUND_STEP(d, e, f, g, h, a, b, c, (i) + 5); \
        ROUND_STEP(c, d, e, f, g, h, a, b, (i) + 6); \
        ROUND_STEP(b, c, d, e, f, g, h, a, (i) + 7); \
    } while (0)

static void compress(uint64_t state[8], const uint8_t *block)
{
    uint64_t w[16];
    for (int i = 0; i < 16; i++) {
        w[i] = load_big_endian(block + 8 * i);
    }
    uint64_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint64_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0;; i += 16) {
        EIGHT_ROUNDS(i);
        EIGHT_ROUNDS(i + 8);
        if (i == 64) {
            break;
        }
        for (int j = 0; j < 16; j++) {
            w[j] += small_sigma_1(w[(j + 14) & 15]) + w[(j + 9) & 15] + small_sigma_0(w[(j + 1) & 15]);
        }
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void cs_sha512_init(cs_sha512_ctx *ctx)
{
    memcpy(ctx->state, cs_sha512_initial, sizeof cs_sha512_initial);
    ctx->total_bytes = 0;
}

void cs_sha512_update(cs_sha512_ctx *ctx, const uint8_t *data, size_t data_bytes)
{
    size_t held = ctx->total_bytes % CS_SHA512_BLOCK_BYTES;
    ctx->total_bytes += data_bytes;
    if (held > 0 && held + data_bytes >= CS_SHA512_BLOCK_BYTES) {
        const size_t missing = CS_SHA512_BLOCK_BYTES - held;
        memcpy(ctx->block + held, data, missing);
        compress(ctx->state, ctx->block);
        data += missing;
        data_bytes -= missing;
        held = 0;
    }
    if (held == 0) {
        for (; data_bytes >= CS_SHA512_BLOCK_BYTES; data_bytes -= CS_SHA512_BLOCK_BYTES) {
            compress(ctx->state, data);
            data += CS_SHA512_BLOCK_BYTES;
        }
    }
    if (data_bytes > 0) { /* memcpy from a null pointer is undefined even for no bytes */
        memcpy(ctx->block + held, data, data_bytes);
    }
}

void cs_sha512_final(cs_sha512_ctx *ctx, uint8_t out[CS_SHA512_BYTES])
{
    enum { LENGTH_AT = CS_SHA512_BLOCK_BYTES - 16 };
    size_t held = ctx->total_bytes % CS_SHA512_BLOCK_BYTES;
    ctx->block[held++] = 0x80;
    if (held > LENGTH_AT) {
        memset(ctx->block + held, 0, CS_SHA512_BLOCK_BYTES - held);
        compress(ctx->state, ctx->block);
        held = 0;
    }
    memset(ctx->block + held, 0, CS_SHA512_BLOCK_BYTES - 8 - held);
    store_big_endian(ctx->block + CS_SHA512_BLOCK_BYTES - 8, ctx->total_bytes * 8);
    compress(ctx->state, ctx->block);
    for (int i = 0; i < 8; i++) {
        store_big_endian(out + 8 * i, ctx->state[i]);
    }
}

void cs_sha512(uint8_t out[CS_SHA512_BYTES], const uint8_t *data, size_t data_bytes)
{
    cs_sha512_ctx ctx;
    cs_sha512_init(&ctx);
    cs_sha512_update(&ctx, data, data_bytes);
    cs_sha512_final(&ctx, out);
}
