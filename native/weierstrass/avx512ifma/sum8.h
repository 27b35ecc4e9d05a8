/* The sum of many stored points times coefficients of 128 bits: see field8.h. For public data only.
 *
 * Pippenger's method: coefficients are cut into odd digits, bytes here; for each place the points of one digit meet in
 * one bucket, and the buckets of a place are summed with their weights. All buckets are filled side by side, a bucket
 * in a lane, by the affine additions of adder8.h: ordered by size, so that lanes hardly wait for each other. */
#ifndef CS_WEIERSTRASS_SUM8_H
#define CS_WEIERSTRASS_SUM8_H

#include "weierstrass/avx512ifma/comb8.h"

enum {
    /* Bytes are the best digits from 256 terms to 12,288: with fewer bits there are more places, with more of them more
     * buckets to be weighed. */
    SUM8_PLACES = 16,
    SUM8_PLACE_BITS = 8,
    SUM8_PLACE_BUCKETS = 128, /* one for each odd magnitude */
    SUM8_BUCKETS = SUM8_PLACES * SUM8_PLACE_BUCKETS,
    SUM8_SIZES = 1024, /* buckets of this size and above are not told apart when they are ordered */
};

_Static_assert(SUM8_BUCKETS == 8 * COMB8_VECTORS_MAX, "all buckets are filled in one go");

/* The point of that index times 2 bits + 1 - 2^128, an odd number, or minus that. */
typedef struct {
    uint64_t bits[2]; /* the low word first */
    uint32_t point, negative;
} sum8_term;

/* A point, or infinity. */
typedef struct {
    affine point; /* of the scalar code */
    int infinite;
} sum8_result;

typedef struct {
    comb8 *room; /* whose sums and room for steps the buckets take */
    cs_weierstrass_point *points;
    sum8_term *terms;
    size_t term_count;
    uint32_t *entries; /* SUM8_PLACES for each term */
    cs_weierstrass_point *buckets; /* SUM8_BUCKETS, like the rest: by magnitude and then by place */
    uint32_t *counts, *starts, *order;
} sum8;

/* The bucket of one place of a coefficient, and the sign of the digit, 1 for a negative one. The digit is twice its
 * byte, plus 1, less 256: as in comb8_digit, but that the last is no exception. */
static inline size_t sum8_bucket(uint32_t *sign, const uint64_t bits[2], size_t place)
{
    const uint32_t byte = (uint32_t)(bits[place / 8] >> SUM8_PLACE_BITS * (place % 8)) & 0xff;
    *sign = byte >> 7 ^ 1;
    return ((byte ^ (0 - *sign)) & (SUM8_PLACE_BUCKETS - 1)) * SUM8_PLACES + place;
}

/* Sort all entries by bucket, and the buckets by falling size. */
LANES_ONE_COPY void sum8_sort(const sum8 *work)
{
    uint32_t sizes[SUM8_SIZES] = {0}, at = 0, sign;
    memset(work->counts, 0, SUM8_BUCKETS * sizeof work->counts[0]);
    for (size_t i = 0; i < work->term_count; i++) {
        for (size_t place = 0; place < SUM8_PLACES; place++) {
            work->counts[sum8_bucket(&sign, work->terms[i].bits, place)]++;
        }
    }
    for (size_t i = 0; i < SUM8_BUCKETS; i++) {
        const uint32_t count = work->counts[i];
        work->starts[i] = at;
        at += count;
        sizes[count < SUM8_SIZES ? count : SUM8_SIZES - 1]++;
    }
    /* An entry is its point times 2 plus its sign; starts moves on to behind the last of its bucket, and back. */
    for (size_t i = 0; i < work->term_count; i++) {
        const sum8_term *term = &work->terms[i];
        for (size_t place = 0; place < SUM8_PLACES; place++) {
            const size_t bucket = sum8_bucket(&sign, term->bits, place);
            work->entries[work->starts[bucket]++] = term->point << 1 | (term->negative ^ sign);
        }
    }
    for (size_t i = 0; i < SUM8_BUCKETS; i++) {
        work->starts[i] -= work->counts[i];
    }
    at = 0;
    for (size_t size = SUM8_SIZES; size-- > 0;) {
        const uint32_t count = sizes[size];
        sizes[size] = at;
        at += count;
    }
    for (size_t i = 0; i < SUM8_BUCKETS; i++) {
        const uint32_t count = work->counts[i];
        work->order[sizes[count < SUM8_SIZES ? count : SUM8_SIZES - 1]++] = (uint32_t)i;
    }
}

/* Name the entry `round` of the eight buckets of vector i; returns the lanes that have one. */
LANES_INLINE __mmask8 sum8_name(const sum8 *work, size_t i, uint32_t round)
{
    const __m256i buckets = _mm256_loadu_si256((const void *)(work->order + 8 * i));
    const __m256i counts = _mm256_i32gather_epi32((const int *)work->counts, buckets, 4);
    const __m256i starts = _mm256_i32gather_epi32((const int *)work->starts, buckets, 4);
    const __m256i at = _mm256_add_epi32(starts, _mm256_set1_epi32((int)round));
    const __mmask8 present = _mm256_cmpgt_epu32_mask(counts, _mm256_set1_epi32((int)round));
    const __m256i entries =
        _mm256_mmask_i32gather_epi32(_mm256_setzero_si256(), present, at, (const int *)work->entries, 4);
    const __m512i wide = _mm512_cvtepu32_epi64(entries);
    const __m512i first = lanes_of((uint64_t)(uintptr_t)work->points);
    _mm512_storeu_si512(work->room->stored[0][i],
                        _mm512_add_epi64(first, _mm512_slli_epi64(_mm512_srli_epi64(wide, 1), 6)));
    work->room->negatives[0][i] = _mm512_test_epi64_mask(wide, lanes_of(1));
    return present;
}

/* Fill all buckets: 1, or 0 where some could not be. */
LANES_ONE_COPY int sum8_fill(const sum8 *work)
{
    comb8 *const room = work->room;
    __mmask8 idle[COMB8_VECTORS_MAX], lost = 0;
    size_t vectors = SUM8_BUCKETS / 8;
    while (vectors > 0 && work->counts[work->order[8 * vectors - 8]] == 0) {
        vectors--;
    }
    for (size_t i = 0; i < vectors; i++) {
        sum8_name(work, i, 0);
    }
    comb8_begin(room, vectors, 0);
    const size_t filled = vectors;
    for (uint32_t round = 1;; round++) {
        while (vectors > 0 && work->counts[work->order[8 * vectors - 8]] <= round) {
            vectors--;
        }
        if (vectors == 0) {
            break;
        }
        for (size_t i = 0; i < vectors; i++) {
            idle[i] = (__mmask8)~sum8_name(work, i, round);
        }
        add_step step = comb8_step(room, 0, vectors);
        step.idle = idle;
        adder8_add_stored(&step);
    }
    for (size_t i = 0; i < filled; i++) {
        cs_weierstrass_point *targets[8];
        for (int lane = 0; lane < 8; lane++) {
            targets[lane] = work->buckets + work->order[8 * i + (size_t)lane];
        }
        const point8 canonical = {field8_canonical(room->sums[i].x), field8_canonical(room->sums[i].y)};
        point8_scatter(targets, &canonical);
        lost |= room->lost[i];
    }
    return lost == 0;
}

/* out = in each lane the sum of its buckets times their digits, for eight places from first_place on. */
LANES_ONE_COPY void sum8_weigh(projective8 *out, const sum8 *work, size_t first_place)
{
    projective8 running = projective8_infinity(), total = running, next;
    for (size_t index = SUM8_PLACE_BUCKETS; index-- > 0;) {
        const size_t first = index * SUM8_PLACES + first_place;
        const __mmask8 present = _mm256_test_epi32_mask(_mm256_loadu_si256((const void *)(work->counts + first)),
                                                        _mm256_set1_epi32(-1));
        const cs_weierstrass_point *points[8];
        for (size_t lane = 0; lane < 8; lane++) {
            points[lane] = work->buckets + first + lane;
        }
        const point8 bucket = {field8_gather_x(points), field8_gather_y(points)};
        projective8_add_affine(&next, &running, &bucket);
        running = projective8_choose(present, running, &next);
        if (index > 0) {
            projective8_add(&total, &total, &running);
        }
    }
    /* The digit of an index is twice that and one. */
    projective8_add(&total, &total, &total);
    projective8_add(out, &total, &running);
}

/* The points of a scalar place each, or infinity. */
static inline void sum8_leave(sum8_result out[8], const projective8 *in)
{
    uint64_t words[3][4][8];
    const field8 *coordinates[3] = {&in->x, &in->y, &in->z};
    for (int k = 0; k < 3; k++) {
        __m512i packed[4];
        const field8 plain = field8_leave(coordinates[k]);
        field8_pack(packed, &plain);
        for (int i = 0; i < 4; i++) {
            _mm512_storeu_si512(words[k][i], packed[i]);
        }
    }
    for (int lane = 0; lane < 8; lane++) {
        uint64_t limbs[3][4];
        fe x, y, inverse;
        for (int k = 0; k < 3; k++) {
            for (int i = 0; i < 4; i++) {
                limbs[k][i] = words[k][i][lane];
            }
        }
        invert_public(limbs[2], limbs[2], FIELD);
        fe_from_limbs(&x, limbs[0]);
        fe_from_limbs(&y, limbs[1]);
        fe_from_limbs(&inverse, limbs[2]);
        out[lane].infinite = fe_is_zero(&inverse);
        fe_multiply(&out[lane].point.x, &x, &inverse);
        fe_multiply(&out[lane].point.y, &y, &inverse);
    }
}

static inline void sum8_set_jacobian(jacobian *out, const sum8_result *in)
{
    out->x = in->infinite ? FE_ONE : in->point.x;
    out->y = in->infinite ? FE_ONE : in->point.y;
    out->z = in->infinite ? FE_ZERO : FE_ONE;
}

static inline void sum8_set_result(sum8_result *out, const jacobian *in)
{
    uint64_t z[4];
    fe inverse, square;
    fe_to_limbs(z, &in->z);
    invert_public(z, z, FIELD);
    fe_from_limbs(&inverse, z);
    out->infinite = fe_is_zero(&inverse);
    fe_square(&square, &inverse);
    fe_multiply(&out->point.x, &in->x, &square);
    fe_multiply(&square, &square, &inverse);
    fe_multiply(&out->point.y, &in->y, &square);
}

/* out = a - b. */
static inline void sum8_subtract(sum8_result *out, const sum8_result *a, const sum8_result *b)
{
    jacobian difference;
    sum8_set_jacobian(&difference, a);
    if (!b->infinite) {
        affine opposite = b->point;
        fe_negate(&opposite.y, &opposite.y);
        jacobian_add_affine(&difference, &opposite);
    }
    sum8_set_result(out, &difference);
}

/* out = the sum over all terms: 1, or 0 where the affine additions met a case that they do not know. */
LANES_ONE_COPY int sum8_terms(sum8_result *out, const sum8 *work)
{
    sum8_result places[SUM8_PLACES];
    jacobian total;
    sum8_sort(work);
    if (!sum8_fill(work)) {
        return 0;
    }
    for (size_t place = 0; place < SUM8_PLACES; place += 8) {
        projective8 weighed;
        sum8_weigh(&weighed, work, place);
        sum8_leave(places + place, &weighed);
    }
    const sum8_result nothing = {.infinite = 1};
    sum8_set_jacobian(&total, &nothing);
    for (size_t place = SUM8_PLACES; place-- > 0;) {
        for (int i = 0; i < SUM8_PLACE_BITS; i++) {
            jacobian_double(&total, &total);
        }
        if (!places[place].infinite) {
            jacobian_add_affine(&total, &places[place].point);
        }
    }
    sum8_set_result(out, &total);
    return 1;
}

#endif
