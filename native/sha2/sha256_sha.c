/* SHA-256 of one message with the SHA extensions: four rounds take two instructions, which keep the eight variables as
 * two registers, ABEF and CDGH, and the schedule advances four words at a time. */
#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("sha,avx2")

#include "sha2/sha256.h"
#include "sha2/sha256_lanes.h"

#include <immintrin.h>
#include <string.h>

#include "common/padding.h"

#define INLINE static inline __attribute__((always_inline))

/* The eight variables of one message. */
typedef struct {
    __m128i abef, cdgh;
} halves;

INLINE halves load_state(const uint32_t state[8])
{
    const __m128i *const words = (const __m128i *)(const void *)state;
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1b);
    return (halves){_mm_alignr_epi8(cdab, efgh, 8), _mm_blend_epi16(efgh, cdab, 0xf0)};
}

/* The eight words in their order: two registers. */
INLINE void order_words(__m128i words[2], halves state)
{
    const __m128i feba = _mm_shuffle_epi32(state.abef, 0x1b), dchg = _mm_shuffle_epi32(state.cdgh, 0xb1);
    words[0] = _mm_blend_epi16(feba, dchg, 0xf0);
    words[1] = _mm_alignr_epi8(dchg, feba, 8);
}

INLINE __m128i swap_bytes(__m128i words)
{
    return _mm_shuffle_epi8(words, _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
}

INLINE void load_block(__m128i w[4], const uint8_t *block)
{
    for (int i = 0; i < 4; i++) {
        w[i] = swap_bytes(_mm_loadu_si128((const __m128i *)(const void *)(block + 16 * i)));
    }
}

/* Rounds 4 i to 4 i + 3; then their words give way to those of sixteen rounds later. */
INLINE void four_rounds(halves *state, __m128i w[4], int i)
{
    const __m128i constants = _mm_loadu_si128((const __m128i *)(const void *)(CS_SHA256_ROUND_CONSTANTS + 4 * i));
    const __m128i sum = _mm_add_epi32(w[i & 3], constants);
    state->cdgh = _mm_sha256rnds2_epu32(state->cdgh, state->abef, sum);
    state->abef = _mm_sha256rnds2_epu32(state->abef, state->cdgh, _mm_shuffle_epi32(sum, 0x0e));
    if (i < 12) {
        const __m128i newest = w[(i + 3) & 3], seventh = _mm_alignr_epi8(newest, w[(i + 2) & 3], 4);
        const __m128i partial = _mm_add_epi32(_mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]), seventh);
        w[i & 3] = _mm_sha256msg2_epu32(partial, newest);
    }
}

INLINE void add_state(halves *state, halves before)
{
    state->abef = _mm_add_epi32(state->abef, before.abef);
    state->cdgh = _mm_add_epi32(state->cdgh, before.cdgh);
}

INLINE void compress_words(halves *state, __m128i w[4])
{
    const halves before = *state;
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        four_rounds(state, w, i);
    }
    add_state(state, before);
}

INLINE void compress_blocks(halves *state, const uint8_t *blocks, size_t count)
{
    for (; count > 0; count--, blocks += CS_PADDED_BLOCK_BYTES) {
        __m128i w[4];
        load_block(w, blocks);
        compress_words(state, w);
    }
}

INLINE void put_digest(uint8_t out[32], halves state)
{
    __m128i words[2];
    order_words(words, state);
    words[0] = swap_bytes(words[0]);
    words[1] = swap_bytes(words[1]);
    memcpy(out, words, sizeof words);
}

void cs_sha256_compress_sha(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    halves now = load_state(state);
    __m128i words[2];
    compress_blocks(&now, blocks, count);
    order_words(words, now);
    memcpy(state, words, sizeof words);
}

void cs_sha256_whole_sha(uint8_t out[32], const uint8_t *data, size_t n)
{
    const size_t rest = n % CS_PADDED_BLOCK_BYTES;
    uint8_t last[2][CS_PADDED_BLOCK_BYTES];
    halves now = load_state(CS_SHA256_START);
    if (rest == 0) { /* whole blocks: the one that closes them is made where it is used */
        const uint64_t bits = (uint64_t)n << 3;
        __m128i w[4] = {_mm_set_epi32(0, 0, 0, INT32_MIN), _mm_setzero_si128(), _mm_setzero_si128(),
                        _mm_set_epi32((int)(uint32_t)bits, (int)(uint32_t)(bits >> 32), 0, 0)};
        compress_blocks(&now, data, n / CS_PADDED_BLOCK_BYTES);
        compress_words(&now, w);
    } else {
        const size_t from = n - rest, blocks = rest + CS_PADDING_BYTES_MIN <= CS_PADDED_BLOCK_BYTES ? 1 : 2;
        /* Written first, so that they have reached the cache when they are read. */
        for (size_t i = 0; i < blocks; i++) {
            cs_padding(last[i], from + i * CS_PADDED_BLOCK_BYTES, n);
        }
        memcpy(last[0], data + from, rest);
        compress_blocks(&now, data, n / CS_PADDED_BLOCK_BYTES);
        compress_blocks(&now, last[0], blocks);
    }
    put_digest(out, now);
}

/* Two messages by turns: the rounds of one fill the time in which those of the other wait for their results. */
INLINE void hash_pair(uint8_t *const out[2], const uint8_t *const heads[2], size_t head_bytes,
                      const uint8_t *const bodies[2], size_t body_bytes)
{
    const size_t total = head_bytes + body_bytes;
    const halves start = load_state(CS_SHA256_START);
    halves now[2] = {start, start};
    for (size_t from = 0; from < total + CS_PADDING_BYTES_MIN; from += CS_PADDED_BLOCK_BYTES) {
        const int inside = from >= head_bytes && from + CS_PADDED_BLOCK_BYTES <= total;
        const halves before[2] = {now[0], now[1]};
        __m128i w[2][4];
        for (int lane = 0; lane < 2; lane++) {
            uint8_t staged[CS_PADDED_BLOCK_BYTES];
            const uint8_t *block = staged;
            if (inside) {
                block = bodies[lane] + (from - head_bytes);
            } else {
                cs_padding(staged, from, total);
                if (head_bytes > 0) {
                    cs_padding_put(staged, from, heads[lane], 0, head_bytes);
                }
                cs_padding_put(staged, from, bodies[lane], head_bytes, body_bytes);
            }
            load_block(w[lane], block);
        }
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            four_rounds(&now[0], w[0], i);
            four_rounds(&now[1], w[1], i);
        }
        add_state(&now[0], before[0]);
        add_state(&now[1], before[1]);
    }
    for (int lane = 0; lane < 2; lane++) {
        put_digest(out[lane], now[lane]);
    }
}

void cs_sha256_pairs_sha(uint8_t *const *out, const uint8_t *const *heads, size_t head_bytes, const uint8_t *const *bodies,
                         size_t body_bytes, size_t count)
{
    for (size_t lane = 0; lane < count; lane += 2) {
        const size_t other = lane + 1 < count ? lane + 1 : lane; /* an odd one is hashed twice in the time of once */
        uint8_t *const outs[2] = {out[lane], out[other]};
        const uint8_t *const some_bodies[2] = {bodies[lane], bodies[other]};
        const uint8_t *const some_heads[2] = {head_bytes == 0 ? NULL : heads[lane], head_bytes == 0 ? NULL : heads[other]};
        hash_pair(outs, some_heads, head_bytes, some_bodies, body_bytes);
    }
}

#pragma GCC pop_options

#endif

typedef int cs_sha256_sha_is_not_empty; /* ISO C wants a declaration in every file */
