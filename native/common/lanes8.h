/* Eight messages of one length as blocks of sixteen 32-bit words, word by word with a lane for each message.
 *
 * To be included where AVX2 is the target already, and immintrin.h with it. A block that lies whole inside the bodies is
 * read where it stands; any other is put together first.
 */
#ifndef CS_COMMON_LANES8_H
#define CS_COMMON_LANES8_H

#include "common/padding.h"

#define CS_LANES8_INLINE static inline __attribute__((always_inline))

/* Lane i is heads[i] || bodies[i]. */
typedef struct {
    const uint8_t *const *heads;
    size_t head_bytes;
    const uint8_t *const *bodies;
    size_t body_bytes;
} cs_lanes8;

/* Whether the block at from has no byte of a message: it is the same in every lane. */
CS_LANES8_INLINE int cs_lanes8_is_padding(const cs_lanes8 *lanes, size_t from)
{
    return from >= lanes->head_bytes + lanes->body_bytes;
}

/* An 8 x 8 matrix of words, transposed. */
CS_LANES8_INLINE void cs_lanes8_transpose(__m256i rows[8])
{
    __m256i pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        quads[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x31);
    }
}

CS_LANES8_INLINE __m256i cs_lanes8_swap_bytes(__m256i words)
{
    const __m256i order = _mm256_set_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203, 0x0c0d0e0f, 0x08090a0b,
                                           0x04050607, 0x00010203);
    return _mm256_shuffle_epi8(words, order);
}

/* words[i]: word i, big-endian, of the block at from in every lane. */
CS_LANES8_INLINE void cs_lanes8_load(__m256i words[16], const cs_lanes8 *lanes, size_t from)
{
    const size_t total = lanes->head_bytes + lanes->body_bytes;
    const int inside = from >= lanes->head_bytes && from + CS_PADDED_BLOCK_BYTES <= total;
    uint8_t staged[CS_PADDED_BLOCK_BYTES];
    if (!inside) {
        cs_padding(staged, from, total);
    }
    for (int lane = 0; lane < 8; lane++) {
        const uint8_t *block = staged;
        if (inside) {
            block = lanes->bodies[lane] + (from - lanes->head_bytes);
        } else {
            /* Every lane writes the same places of the block, so what it leaves is what the next one writes over. */
            if (lanes->head_bytes > 0) {
                cs_padding_put(staged, from, lanes->heads[lane], 0, lanes->head_bytes);
            }
            cs_padding_put(staged, from, lanes->bodies[lane], lanes->head_bytes, lanes->body_bytes);
        }
        words[lane] = cs_lanes8_swap_bytes(_mm256_loadu_si256((const __m256i *)(const void *)block));
        words[8 + lane] = cs_lanes8_swap_bytes(_mm256_loadu_si256((const __m256i *)(const void *)(block + 32)));
    }
    cs_lanes8_transpose(words);
    cs_lanes8_transpose(words + 8);
}

/* state[i]: word i of every lane's digest; it is used up. */
CS_LANES8_INLINE void cs_lanes8_store(uint8_t *const out[8], __m256i state[8])
{
    cs_lanes8_transpose(state);
    for (int lane = 0; lane < 8; lane++) {
        _mm256_storeu_si256((__m256i *)(void *)out[lane], cs_lanes8_swap_bytes(state[lane]));
    }
}

#endif
