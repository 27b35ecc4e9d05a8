/* Deciding the items of a batch, the same for every curve: see field8.h.
 *
 * An item is good when b * G + a * A, for its two scalars and its key, is a point whose x is the expected number modulo
 * n. A hint is the y of that point R, for an x below n: of items that have one, a random combination of all
 * b * G + a * A - R is summed at once. The curve's batch.c includes curve8.h, defines before this header
 *
 *     batch8_item    a struct with key (which has multiples), table, signature, message and hint
 *     static int batch8_verify_singly(const batch8_item *, const uint8_t digest[32])   by the scalar reference
 *
 * and then fills, of a batch8 that batch8_lay_out laid out: items, verdicts (all 0), hints_out (NULL, or all 0), the
 * digests, and for each item that is not bad already an entry of open, its scalars and expected. The rest is
 * batch8_decide.
 */
#ifndef CS_WEIERSTRASS_BATCH8_H
#define CS_WEIERSTRASS_BATCH8_H

#include "sm3/sm3_x16.h"
#include "weierstrass/avx512ifma/decide8.h"

enum {
    BATCH8_HINTED_MIN = 200, /* fewer hinted items are sooner decided without: a sum costs something however small */
    BATCH8_LEAF_ITEMS = 256, /* and so are parts of a batch of this size, whose bad items must be found anyway */
    BATCH8_SUM_COST = 128,   /* that something, counted in items */
};

static inline int batch8_has_hint(const batch8_item *item)
{
    static const uint8_t none[BATCH8_HINT_BYTES] = {0};
    return item->hint != NULL && memcmp(item->hint, none, sizeof none) != 0;
}

/* Read eight points, x as expected and y as hinted; returns the lanes in which they are points of the curve. */
LANES_INLINE __mmask8 batch8_read_points(cs_weierstrass_point *const out[8], const batch8 *work,
                                         const uint32_t items[8])
{
    const field8 b = field8_broadcast(FIELD8_B);
    cs_weierstrass_point plain[8];
    uint32_t good = 0;
    __m512i rows[8];
    for (int lane = 0; lane < 8; lane++) {
        memcpy(plain[lane].x, work->expected[items[lane]].limbs, sizeof plain[lane].x);
        batch8_load_big_endian(plain[lane].y, work->items[items[lane]].hint);
        good |= (uint32_t)limbs_below(plain[lane].y, FIELD) << lane;
        rows[lane] = _mm512_loadu_si512(&plain[lane]);
    }
    cs_transpose8(rows);
    point8 point = {field8_unpack(rows), field8_unpack(rows + 4)};
    point.x = field8_enter(&point.x);
    point.y = field8_enter(&point.y);
    /* x (x^2 - 3) + b */
    const field8 one = field8_broadcast(FIELD8_ONE);
    field8 right = field8_square(&point.x);
    for (int i = 0; i < 3; i++) {
        right = field8_subtract_raw(&right, &one);
    }
    right = field8_settle(right);
    right = field8_multiply(&right, &point.x);
    right = field8_add(&right, &b);
    const field8 left = field8_square(&point.y);
    point.x = field8_less_p(&point.x);
    point.y = field8_less_p(&point.y);
    point8_scatter(out, &point);
    return field8_equal_lanes(&left, &right) & (__mmask8)good;
}

/* Take out of open the items whose hint makes a point of the curve. */
static void batch8_read_hints(batch8 *work)
{
    size_t open_count = 0, count = 0;
    for (size_t i = 0; i < work->open_count; i++) {
        const uint32_t item = work->open[i];
        const int has_hint = batch8_has_hint(&work->items[item]);
        work->chosen[count] = item;
        work->open[open_count] = item;
        count += (size_t)has_hint;
        open_count += (size_t)!has_hint;
    }
    work->hinted_count = 0;
    for (size_t from = 0; from < count; from += 8) {
        cs_weierstrass_point *targets[8];
        uint32_t items[8];
        const size_t left = count - from < 8 ? count - from : 8;
        for (size_t lane = 0; lane < 8; lane++) {
            items[lane] = work->chosen[from + (lane < left ? lane : 0)];
            targets[lane] = work->sum.points + (lane < left ? items[lane] : batch8_points_max(work->count) - 8 + lane);
        }
        const __mmask8 good = batch8_read_points(targets, work, items);
        for (size_t lane = 0; lane < left; lane++) {
            if ((good >> lane & 1) != 0) {
                work->hinted[work->hinted_count++] = items[lane];
            } else {
                work->open[open_count++] = items[lane];
            }
        }
    }
    work->open_count = open_count;
}

/* Draw a coefficient for every item: the hash of seed and counter gives two of them. */
static void batch8_draw_coefficients(batch8 *work, const uint8_t seed[BATCH8_SEED_BYTES])
{
    uint64_t counters[16];
    uint8_t *out[16];
    const uint8_t *heads[16], *bodies[16];
    for (size_t from = 0; from < work->count; from += 32) {
        for (size_t lane = 0; lane < 16; lane++) {
            counters[lane] = from / 2 + lane;
            out[lane] = work->coefficients[from + 2 * lane];
            heads[lane] = seed;
            bodies[lane] = (const uint8_t *)&counters[lane];
        }
        cs_sm3_x16(out, heads, BATCH8_SEED_BYTES, bodies, sizeof counters[0]);
    }
}

/* Number the keys of hinted items, so that what one key contributes is summed before it is multiplied, and store their
 * points and those of the generator. */
static void batch8_number_keys(batch8 *work)
{
    const field8 reenter = field8_broadcast(FIELD8_REENTER);
    memset(work->table, 0, work->table_size * sizeof work->table[0]);
    work->key_count = 0;
    for (size_t i = 0; i < work->hinted_count; i++) {
        const void *key = work->items[work->hinted[i]].key;
        size_t at = (size_t)((uint64_t)(uintptr_t)key * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (work->table_size - 1);
        while (work->table[at] != 0 && work->keys[work->table[at] - 1] != key) {
            at = (at + 1) & (work->table_size - 1);
        }
        if (work->table[at] == 0) {
            work->keys[work->key_count] = key;
            work->key_round[work->key_count] = 0;
            work->chosen[work->key_count] = work->hinted[i];
            work->table[at] = ++work->key_count;
        }
        work->item_key[work->hinted[i]] = work->table[at] - 1;
    }
    for (size_t from = 0; from < 2 * (size_t)work->key_count; from += 8) {
        const cs_weierstrass_point *sources[8];
        cs_weierstrass_point *targets[8];
        for (size_t lane = 0; lane < 8; lane++) { /* A, 2^128 A and so on; what fills the last vector goes behind all */
            const size_t at = from + lane < 2 * (size_t)work->key_count ? from + lane : from;
            sources[lane] = work->items[work->chosen[at / 2]].key->multiples[2 * (at % 2)];
            targets[lane] = work->sum.points +
                            (at == from + lane ? work->count + at : batch8_points_max(work->count) - 8 + lane);
        }
        point8 point = {field8_gather_x(sources), field8_gather_y(sources)};
        point.x = field8_multiply(&point.x, &reenter);
        point.y = field8_multiply(&point.y, &reenter);
        point.x = field8_less_p(&point.x);
        point.y = field8_less_p(&point.y);
        point8_scatter(targets, &point);
    }
    cs_weierstrass_point *const base = work->sum.points + work->count + 2 * (size_t)work->key_count;
    base[0] = BASE8[0][0];
    base[1] = BASE8[COMB8_BASE_ROWS / 2][0];
    work->round = 0;
}

/* sum += coefficient times a. */
static inline void batch8_add_product(batch8_scalar_sum *sum, const uint64_t bits[2], const uint64_t a[4])
{
    for (size_t i = 0; i < 2; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < 4; j++) {
            const uint128 t = (uint128)bits[i] * a[j] + sum->products[i + j] + carry;
            sum->products[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
        for (size_t j = i + 4; j < BATCH8_PRODUCT_LIMBS; j++) {
            const uint128 t = (uint128)sum->products[j] + carry;
            sum->products[j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
    }
    carry_t carry = 0;
    for (size_t j = 0; j < 4; j++) {
        sum->total[j] = add_carry(sum->total[j], a[j], &carry);
    }
    sum->total[4] += carry;
}

/* out = what the sum is modulo n: 2 products + total - 2^128 total. */
static void batch8_reduce(uint64_t out[4], const batch8_scalar_sum *sum)
{
    static const uint64_t two_to_128[4] = {0, 0, 1, 0};
    const uint64_t high[4] = {sum->products[4], sum->products[5], sum->products[6], 0};
    const uint64_t total_high[4] = {sum->total[4], 0, 0, 0};
    uint64_t part[4], total[4];
    order_reduce(out, sum->products);
    order_enter(part, high); /* times 2^256 */
    order_add(out, out, part);
    order_add(out, out, out);
    order_reduce(total, sum->total);
    order_enter(part, total_high);
    order_add(total, total, part);
    order_add(out, out, total);
    order_enter(part, total);
    order_multiply(part, part, two_to_128);
    order_subtract(out, out, part);
}

/* Append the terms of a scalar for the point at first and 2^128 times that, at first + 1. */
static void batch8_add_terms(sum8 *sum, const uint64_t scalar[4], uint32_t first)
{
    uint64_t odd[4];
    const uint32_t even = (uint32_t)(~scalar[0] & 1);
    memcpy(odd, scalar, sizeof odd);
    if (even) { /* n less it; of 0 that is n, which makes infinity all the same */
        carry_t borrow = 0;
        for (int i = 0; i < 4; i++) {
            odd[i] = subtract_borrow(ORDER[i], scalar[i], &borrow);
        }
    }
    /* odd = (2 low + 1 - 2^128) + 2^128 (2 high + 1 - 2^128). */
    sum->terms[sum->term_count++] =
        (sum8_term){{odd[0] >> 1 | odd[1] << 63, odd[1] >> 1 | odd[2] << 63}, first, even};
    sum->terms[sum->term_count++] =
        (sum8_term){{odd[2] >> 1 | odd[3] << 63, odd[3] >> 1 | UINT64_C(1) << 63}, first + 1, even};
}

/* out = the random combination of hinted items from first to last, exclusive; 0 where it could not be found. */
static int batch8_sum(sum8_result *out, batch8 *work, size_t first, size_t last)
{
    batch8_scalar_sum base = {{0}, {0}};
    uint32_t touched_count = 0;
    uint64_t scalar[4];
    sum8 *const sum = &work->sum;
    const uint32_t round = ++work->round;
    const size_t cost = last - first + BATCH8_SUM_COST;
    work->budget -= cost < work->budget ? cost : work->budget;
    sum->term_count = 0;
    for (size_t i = first; i < last; i++) {
        const uint32_t item = work->hinted[i], key = work->item_key[item];
        uint64_t bits[2];
        memcpy(bits, work->coefficients[item], sizeof bits);
        if (work->key_round[key] != round) {
            work->key_round[key] = round;
            work->touched[touched_count++] = key;
            memset(&work->key_sums[key], 0, sizeof work->key_sums[key]);
        }
        batch8_add_product(&work->key_sums[key], bits, work->scalars[item].key);
        batch8_add_product(&base, bits, work->scalars[item].base);
        sum->terms[sum->term_count++] = (sum8_term){{bits[0], bits[1]}, item, 1};
    }
    for (uint32_t i = 0; i < touched_count; i++) {
        const uint32_t key = work->touched[i];
        batch8_reduce(scalar, &work->key_sums[key]);
        batch8_add_terms(sum, scalar, (uint32_t)work->count + 2 * key);
    }
    batch8_reduce(scalar, &base);
    batch8_add_terms(sum, scalar, (uint32_t)work->count + 2 * work->key_count);
    return sum8_terms(out, sum);
}

/* Decide hinted items from first to last, exclusive, whose sum is known. Only the left half is summed; the right half
 * is what it leaves. The budget bounds what bad items, spread so that every part holds some, can cost. */
static void batch8_decide_hinted(batch8 *work, size_t first, size_t last, const sum8_result *sum)
{
    const size_t count = last - first, middle = first + count / 2;
    sum8_result left, right;
    if (sum->infinite) {
        for (size_t i = first; i < last; i++) {
            const uint32_t item = work->hinted[i];
            work->verdicts[item] = 1;
            if (work->hints_out != NULL) {
                memcpy(work->hints_out + BATCH8_HINT_BYTES * (size_t)item, work->items[item].hint, BATCH8_HINT_BYTES);
            }
        }
    } else if (count <= BATCH8_LEAF_ITEMS || work->budget == 0 || !batch8_sum(&left, work, first, middle)) {
        batch8_decide_unhinted(work, work->hinted + first, count);
    } else {
        sum8_subtract(&right, sum, &left);
        batch8_decide_hinted(work, first, middle, &left);
        batch8_decide_hinted(work, middle, last, &right);
    }
}

/* Decide all open items. */
static void batch8_decide(batch8 *work, const uint8_t seed[BATCH8_SEED_BYTES])
{
    sum8_result sum;
    batch8_read_hints(work);
    if (work->hinted_count >= BATCH8_HINTED_MIN) {
        batch8_draw_coefficients(work, seed);
        batch8_number_keys(work);
        const int summed = batch8_sum(&sum, work, 0, work->hinted_count);
        work->budget = work->hinted_count + 8 * BATCH8_SUM_COST; /* one clean batch again, in ever smaller sums */
        if (summed) {
            batch8_decide_hinted(work, 0, work->hinted_count, &sum);
        } else {
            batch8_decide_unhinted(work, work->hinted, work->hinted_count);
        }
    } else {
        batch8_decide_unhinted(work, work->hinted, work->hinted_count);
    }
    batch8_decide_unhinted(work, work->open, work->open_count);
}

#endif
