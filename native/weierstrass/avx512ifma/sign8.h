/* Signing 64 messages at a time on each curve of this family: what comes before and after the equation that differs.
 *
 * A template like field8.h. The curve's sign.c includes its curve8.h, then defines HASH_X16 (see nonce16.h), then
 * includes this. No branch and no address depends on a secret; what is told apart is public: a secret out of its range,
 * and a nonce that will not do, both of which the scalar code then answers for (about once in 2^32). */
#ifndef CS_WEIERSTRASS_SIGN8_H
#define CS_WEIERSTRASS_SIGN8_H

#include "common/wipe.h"
#include "weierstrass/avx512ifma/nonce16.h"
#include "weierstrass/avx512ifma/secret8.h"

enum {
    SIGNED_AT_ONCE = 64,
    SIGNED_VECTORS = SIGNED_AT_ONCE / 8,
    SIGNED_SINGLY_MAX = 2, /* as many signatures as the scalar code makes in the time of sixteen */
};

typedef uint64_t number[4];

typedef struct {
    int count; /* of all below that are in use: a multiple of sixteen */
    number secrets[SIGNED_AT_ONCE], digests[SIGNED_AT_ONCE], nonces[SIGNED_AT_ONCE];
    number x[SIGNED_AT_ONCE];        /* of each nonce times G, below p */
    number inverses[SIGNED_AT_ONCE]; /* of what the equation divides by; Montgomery form */
    number before[SIGNED_AT_ONCE];
    projective8 sums[SIGNED_VECTORS];
    field8 products[SIGNED_VECTORS];
    uint8_t reduced[HASHED_AT_ONCE][HASH_BYTES];
    nonces16 generator;
} signing;

/* 1 when a number is in [1, n-1]; else it becomes 1, so that all that follows has an inverse. */
static uint64_t take_number(number a, uint64_t usable) {
    usable &= limbs_below(a, ORDER) & (limbs_are_zero(a) ^ 1);
    for (int i = 0; i < 4; i++) {
        a[i] &= (uint64_t)0 - usable;
    }
    a[0] |= usable ^ 1;
    return usable;
}

/* Nonces from secrets and digests; usable[i] becomes 0 where the first candidate will not do. */
static void signing_nonces(signing *work, uint64_t usable[SIGNED_AT_ONCE],
                           const uint8_t *const secrets[SIGNED_AT_ONCE]) {
    for (int from = 0; from < work->count; from += HASHED_AT_ONCE) {
        for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
            limbs_store(work->reduced[lane], work->digests[from + lane]);
        }
        nonces16_first(&work->generator, secrets + from, (const uint8_t(*)[HASH_BYTES])work->reduced);
        for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
            limbs_load(work->nonces[from + lane], work->generator.value[lane]);
            usable[from + lane] = take_number(work->nonces[from + lane], usable[from + lane]);
        }
    }
}

/* Fill work->x. */
static void signing_points(signing *work, const cs_base_row base[CS_BASE_WINDOWS]) {
    field8 inverse, product = field8_broadcast(FIELD8_ONE);
    for (int v = 0; v < work->count / 8; v++) {
        __m512i words[8];
        for (int lane = 0; lane < 8; lane++) {
            words[lane] = _mm512_castsi256_si512(_mm256_loadu_si256((const void *)work->nonces[8 * v + lane]));
        }
        cs_transpose8(words);
        secret8_multiply(&work->sums[v], base, words);
        work->products[v] = product;
        product = field8_multiply(&product, &work->sums[v].z);
    }
    secret8_invert(&inverse, &product);
    for (int v = work->count / 8; v-- > 0;) {
        __m512i words[8];
        const field8 own = field8_multiply(&inverse, &work->products[v]);
        inverse = field8_multiply(&inverse, &work->sums[v].z);
        const field8 x = field8_multiply(&work->sums[v].x, &own), plain = field8_leave(&x);
        field8_pack(words, &plain);
        for (int i = 4; i < 8; i++) {
            words[i] = words[i - 4];
        }
        cs_transpose8(words);
        for (int lane = 0; lane < 8; lane++) {
            _mm256_storeu_si256((void *)work->x[8 * v + lane], _mm512_castsi512_si256(words[lane]));
        }
    }
}

/* Put the inverse of each number of work->inverses, in [1, n-1], in its place: Montgomery form, one power for all. */
static void signing_inverses(signing *work) {
    number all;
    for (int i = 0; i < work->count; i++) {
        order_enter(work->inverses[i], work->inverses[i]);
        if (i == 0) {
            memcpy(all, work->inverses[0], sizeof all);
        } else {
            memcpy(work->before[i], all, sizeof all);
            order_multiply(all, all, work->inverses[i]);
        }
    }
    order_invert(all, all);
    for (int i = work->count; i-- > 1;) {
        number own;
        order_multiply(own, all, work->before[i]);
        order_multiply(all, all, work->inverses[i]);
        memcpy(work->inverses[i], own, sizeof own);
        cs_wipe(own, sizeof own);
    }
    memcpy(work->inverses[0], all, sizeof all);
    cs_wipe(all, sizeof all);
}

#endif
