/* Many affine additions at a time that share one inversion: see field8.h. For public data only.
 *
 * An affine addition divides by the difference of two x. All differences of a step are multiplied up, the product is
 * inverted once, and every inverse is found walking back (Montgomery's trick): across the lanes too. So an addition
 * costs five multiplications and a square, less than any other, and its result is ready to be added again.
 *
 * Equal x, which is doubling or a sum that is infinity, has no inverse. It is not looked for: where the whole product
 * turns out to be 0, the step is done again with a look at each difference, and such lanes are left as they are and
 * reported lost. No point is ever infinity. */
#ifndef CS_WEIERSTRASS_ADDER8_H
#define CS_WEIERSTRASS_ADDER8_H

#include "weierstrass/avx512ifma/group8.h"
#include "weierstrass/invert.h"

enum { CHAINS = 4 /* products that grow side by side, because one alone would wait for itself */ };

/* What a step adds to each of its sums. */
typedef enum {
    ADD_STORED,   /* stored points, negated in the lanes of negatives */
    ADD_SCALAR,   /* the same, in the Montgomery form of the scalar code (times 2^256) */
    ADD_POINTS,   /* points in lanes */
    ADD_THEMSELVES, /* the sums themselves: doubling */
} add_kind;

/* One step on count vectors of sums. */
typedef struct {
    point8 *sums;
    size_t count;
    const cs_weierstrass_point *const (*stored)[8]; /* of ADD_STORED and ADD_SCALAR */
    const __mmask8 *negatives;
    const cs_weierstrass_point *const (*next)[8]; /* NULL, or as many that will be stored points next: fetched early */
    const point8 *points;                         /* of ADD_POINTS */
    const __mmask8 *idle;                         /* NULL, or the lanes that add nothing */
    __mmask8 *lost;                               /* lanes are added to it that could not be added */
    field8 *differences, *products;               /* room for count of each */
    __mmask8 *skipped;                            /* and of this */
} add_step;

LANES_INLINE field8 adder8_difference(const add_step *step, add_kind kind, size_t i)
{
    const point8 *sum = &step->sums[i];
    if (kind == ADD_THEMSELVES) {
        return field8_carry(field8_add_raw(&sum->y, &sum->y));
    }
    field8 x = kind == ADD_POINTS ? step->points[i].x : field8_gather_x(step->stored[i]);
    if (kind == ADD_SCALAR) {
        const field8 reenter = field8_broadcast(FIELD8_REENTER);
        x = field8_multiply(&x, &reenter);
    }
    return field8_subtract_from(&x, &sum->x, 3);
}

/* Multiply up all differences; careful ones are looked at each. */
LANES_INLINE void adder8_forth(const add_step *step, add_kind kind, int careful, field8 chains[CHAINS])
{
    const field8 one = field8_broadcast(FIELD8_ONE);
    for (int j = 0; j < CHAINS; j++) {
        chains[j] = one;
    }
    for (size_t i = 0; i < step->count; i++) {
        field8 *chain = &chains[i % CHAINS];
        field8 difference = adder8_difference(step, kind, i);
        if (careful || step->idle != NULL) {
            __mmask8 skipped = step->idle == NULL ? 0 : step->idle[i];
            if (careful) {
                const __mmask8 lost = field8_zero_lanes(&difference) & (__mmask8)~skipped;
                step->lost[i] |= lost;
                skipped |= lost;
            }
            step->skipped[i] = skipped;
            difference = field8_choose(skipped, difference, &one);
        }
        step->differences[i] = difference;
        step->products[i] = *chain;
        *chain = field8_multiply(chain, &difference);
    }
}

/* Add, given the inverse of each chain. */
LANES_INLINE void adder8_back(const add_step *step, add_kind kind, int masked, field8 chains[CHAINS])
{
    for (size_t i = step->count; i-- > 0;) {
        field8 *chain = &chains[i % CHAINS];
        point8 *sum = &step->sums[i];
        const field8 difference = step->differences[i];
        const field8 inverse = field8_multiply(chain, &step->products[i]);
        *chain = field8_multiply(chain, &difference);
        const field8 x = sum->x, y = sum->y;
        field8 rise;
        if (kind == ADD_THEMSELVES) { /* 3 x^2 - 3 */
            const field8 one = field8_broadcast(FIELD8_ONE);
            const field8 square = field8_square(&x), less = field8_subtract_raw(&square, &one);
            const field8 twice = field8_add_raw(&less, &less);
            rise = field8_settle(field8_add_raw(&twice, &less));
        } else {
            field8 other = kind == ADD_POINTS ? step->points[i].y : field8_gather_y(step->stored[i]);
            if (kind == ADD_SCALAR) {
                const field8 reenter = field8_broadcast(FIELD8_REENTER);
                other = field8_multiply(&other, &reenter);
            }
            if (kind != ADD_POINTS) {
                other = field8_negate_raw(other, step->negatives[i]);
            }
            rise = field8_subtract_from(&other, &y, 5);
        }
        const field8 slope = field8_multiply(&rise, &inverse);
        field8 new_x = field8_square(&slope);
        new_x = field8_subtract_raw(&new_x, &x);
        new_x = field8_subtract_raw(&new_x, &x);
        if (kind != ADD_THEMSELVES) { /* the difference is x of the other, less x */
            new_x = field8_subtract_raw(&new_x, &difference);
        }
        new_x = field8_settle(new_x);
        const field8 run = field8_subtract_from(&x, &new_x, 3);
        const field8 new_y = field8_multiply(&slope, &run);
        point8 out = {new_x, field8_settle(field8_subtract_raw(&new_y, &y))};
        if (masked) {
            const __mmask8 skipped = step->skipped[i];
            out.x = field8_choose(skipped, out.x, &x);
            out.y = field8_choose(skipped, out.y, &y);
        }
        *sum = out;
        if (step->next != NULL) {
            for (int lane = 0; lane < 8; lane++) {
                __builtin_prefetch(step->next[i][lane]);
            }
        }
    }
}

/* Put the inverse of each chain in its place: 1, or 0 when a lane of some chain is 0 modulo p. */
LANES_ONE_COPY int adder8_invert(field8 chains[CHAINS])
{
    const field8 pairs[2] = {field8_multiply(&chains[0], &chains[1]), field8_multiply(&chains[2], &chains[3])};
    field8 turned[3], all = field8_multiply(&pairs[0], &pairs[1]);
    uint64_t words[4], limbs[4][8];
    __m512i packed[4];
    for (int level = 0; level < 3; level++) {
        turned[level] = field8_turn(&all, 4 >> level);
        all = field8_multiply(&all, &turned[level]);
    }
    all = field8_canonical(all);
    if (field8_no_limb_lanes(&all) != 0) {
        return 0;
    }
    field8_pack(packed, &all);
    for (int i = 0; i < 4; i++) {
        _mm512_storeu_si512(limbs[i], packed[i]);
        words[i] = limbs[i][0];
    }
    invert_public(words, words, FIELD);
    const field8 scale = field8_broadcast(FIELD8_INVERT);
    field8 inverse = field8_broadcast(words);
    inverse = field8_multiply(&inverse, &scale);
    for (int level = 3; level-- > 0;) {
        inverse = field8_multiply(&inverse, &turned[level]);
    }
    const field8 halves[2] = {field8_multiply(&inverse, &pairs[1]), field8_multiply(&inverse, &pairs[0])};
    for (int j = 0; j < CHAINS; j += 2) {
        const field8 left = chains[j];
        chains[j] = field8_multiply(&halves[j / 2], &chains[j + 1]);
        chains[j + 1] = field8_multiply(&halves[j / 2], &left);
    }
    return 1;
}

/* Take one step; kind is a constant where this is expanded. */
LANES_INLINE void adder8_add(const add_step *step, add_kind kind)
{
    field8 chains[CHAINS];
    adder8_forth(step, kind, 0, chains);
    if (adder8_invert(chains)) {
        if (step->idle == NULL) {
            adder8_back(step, kind, 0, chains);
        } else {
            adder8_back(step, kind, 1, chains);
        }
        return;
    }
    adder8_forth(step, kind, 1, chains);
    (void)adder8_invert(chains);
    adder8_back(step, kind, 1, chains);
}

#define ADDER8(name, kind)                                                   \
    LANES_ONE_COPY void name(const add_step *step) \
    {                                                                        \
        adder8_add(step, kind);                                              \
    }

ADDER8(adder8_add_stored, ADD_STORED)
ADDER8(adder8_add_scalar, ADD_SCALAR)
ADDER8(adder8_add_points, ADD_POINTS)
ADDER8(adder8_double, ADD_THEMSELVES)

#undef ADDER8

#endif
