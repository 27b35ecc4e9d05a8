/* Sixteen messages of one length as blocks of sixteen 32-bit words, word by word with a lane for each message.
 *
 * To be included where AVX-512 F and BW are the target already, and immintrin.h with them. Bytes outside a message are
 * masked out of its loads, so nothing past its ends is read and nothing is copied.
 */
#ifndef CS_COMMON_LANES16_H
#define CS_COMMON_LANES16_H

#include "common/padding.h"

#define CS_LANES16_INLINE static inline __attribute__((always_inline))

/* Lane i is heads[i] || bodies[i]. */
typedef struct {
    const uint8_t *const *heads;
    size_t head_bytes;
    const uint8_t *const *bodies;
    size_t body_bytes;
} cs_lanes16;

/* One bit for each byte of [from, from + 64) that lies in [first, end). */
CS_LANES16_INLINE __mmask64 cs_lanes16_mask(size_t from, size_t first, size_t end)
{
    const size_t low = first > from ? first - from : 0, high = end > from ? end - from : 0;
    const uint64_t below_high = high >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << high) - 1;
    return low >= 64 ? 0 : below_high & ~(((uint64_t)1 << low) - 1);
}

/* Whether the block at from has no byte of a message: it is the same in every lane. */
CS_LANES16_INLINE int cs_lanes16_is_padding(const cs_lanes16 *lanes, size_t from)
{
    return from >= lanes->head_bytes + lanes->body_bytes;
}

/* A 4 x 4 matrix of words in each quarter of four registers, transposed. */
CS_LANES16_INLINE void cs_lanes16_transpose4(__m512i rows[4])
{
    const __m512i a = _mm512_unpacklo_epi32(rows[0], rows[1]), b = _mm512_unpackhi_epi32(rows[0], rows[1]);
    const __m512i c = _mm512_unpacklo_epi32(rows[2], rows[3]), d = _mm512_unpackhi_epi32(rows[2], rows[3]);
    rows[0] = _mm512_unpacklo_epi64(a, c);
    rows[1] = _mm512_unpackhi_epi64(a, c);
    rows[2] = _mm512_unpacklo_epi64(b, d);
    rows[3] = _mm512_unpackhi_epi64(b, d);
}

/* Quarter j of rows[i] and quarter i of rows[j] change places. */
CS_LANES16_INLINE void cs_lanes16_transpose_quarters(__m512i *r0, __m512i *r1, __m512i *r2, __m512i *r3)
{
    const __m512i a = _mm512_shuffle_i32x4(*r0, *r1, 0x44), b = _mm512_shuffle_i32x4(*r0, *r1, 0xee);
    const __m512i c = _mm512_shuffle_i32x4(*r2, *r3, 0x44), d = _mm512_shuffle_i32x4(*r2, *r3, 0xee);
    *r0 = _mm512_shuffle_i32x4(a, c, 0x88);
    *r1 = _mm512_shuffle_i32x4(a, c, 0xdd);
    *r2 = _mm512_shuffle_i32x4(b, d, 0x88);
    *r3 = _mm512_shuffle_i32x4(b, d, 0xdd);
}

CS_LANES16_INLINE __m512i cs_lanes16_swap_bytes(__m512i words)
{
    const __m512i order = _mm512_set4_epi32(0x0c0d0e0f, 0x08090a0b, 0x04050607, 0x00010203);
    return _mm512_shuffle_epi8(words, order);
}

/* words[i]: word i, big-endian, of the block at from in every lane. */
CS_LANES16_INLINE void cs_lanes16_load(__m512i words[16], const cs_lanes16 *lanes, size_t from)
{
    const size_t total = lanes->head_bytes + lanes->body_bytes;
    const __mmask64 in_body = cs_lanes16_mask(from, lanes->head_bytes, total);
    /* Addresses, not pointers: the first byte of the block may lie outside of both parts. */
    if (~in_body == 0) {
        for (int lane = 0; lane < 16; lane++) {
            words[lane] = _mm512_loadu_si512(lanes->bodies[lane] + (from - lanes->head_bytes));
        }
    } else {
        const __mmask64 in_head = cs_lanes16_mask(from, 0, lanes->head_bytes);
        uint8_t padding[CS_PADDED_BLOCK_BYTES];
        cs_padding(padding, from, total);
        const __m512i rest = _mm512_loadu_si512(padding);
        for (int lane = 0; lane < 16; lane++) {
            const uintptr_t body = (uintptr_t)lanes->bodies[lane] + from - lanes->head_bytes;
            words[lane] = _mm512_mask_loadu_epi8(rest, in_body, (const void *)body);
            if (in_head != 0) {
                const uintptr_t head = (uintptr_t)lanes->heads[lane] + from;
                words[lane] = _mm512_mask_loadu_epi8(words[lane], in_head, (const void *)head);
            }
        }
    }
    for (int i = 0; i < 16; i += 4) {
        for (int j = 0; j < 4; j++) {
            words[i + j] = cs_lanes16_swap_bytes(words[i + j]);
        }
        cs_lanes16_transpose4(words + i);
    }
    /* Now quarter q of words[4 g + j] is word 4 q + j of lanes 4 g to 4 g + 3. */
    for (int j = 0; j < 4; j++) {
        cs_lanes16_transpose_quarters(words + j, words + 4 + j, words + 8 + j, words + 12 + j);
    }
}

/* state[i]: word i of every lane's digest. */
CS_LANES16_INLINE void cs_lanes16_store(uint8_t *const out[16], const __m512i state[8])
{
    __m512i low[4], high[4];
    for (int i = 0; i < 4; i++) {
        low[i] = cs_lanes16_swap_bytes(state[i]);
        high[i] = cs_lanes16_swap_bytes(state[4 + i]);
    }
    cs_lanes16_transpose4(low);
    cs_lanes16_transpose4(high);
    /* Quarter q of low[j] is words 0 to 3 of lane 4 q + j. */
    for (int j = 0; j < 4; j++) {
        const __m512i first = _mm512_shuffle_i32x4(low[j], high[j], 0x44);
        const __m512i second = _mm512_shuffle_i32x4(low[j], high[j], 0xee);
        const __m512i even = _mm512_shuffle_i32x4(first, first, 0xd8), odd = _mm512_shuffle_i32x4(second, second, 0xd8);
        _mm256_storeu_si256((__m256i *)(void *)out[j], _mm512_castsi512_si256(even));
        _mm256_storeu_si256((__m256i *)(void *)out[4 + j], _mm512_extracti64x4_epi64(even, 1));
        _mm256_storeu_si256((__m256i *)(void *)out[8 + j], _mm512_castsi512_si256(odd));
        _mm256_storeu_si256((__m256i *)(void *)out[12 + j], _mm512_extracti64x4_epi64(odd, 1));
    }
}

#endif
