/* What a batch is and how its items are decided each for itself; batch8.h includes this and says how it is used. */
#ifndef CS_WEIERSTRASS_DECIDE8_H
#define CS_WEIERSTRASS_DECIDE8_H

#include "weierstrass/avx512ifma/sum8.h"

enum {
    BATCH8_ALIGNMENT = 64,
    BATCH8_LANES_MIN = 5, /* fewer items without tables are sooner decided by the reference, which finds no hints */
    BATCH8_CHUNK_ITEMS = 8 * COMB8_VECTORS_MAX,
    BATCH8_SEED_BYTES = 32,
    BATCH8_HINT_BYTES = 32,
    BATCH8_PRODUCT_LIMBS = 7, /* 4096 products of 128 and 256 bits */
    BATCH8_TOTAL_LIMBS = 5,
};

typedef struct {
    uint64_t limbs[4];
} batch8_number;

/* The sum of coefficients times scalars, for coefficients 2 bits + 1 - 2^128. */
typedef struct {
    uint64_t products[BATCH8_PRODUCT_LIMBS]; /* of bits and scalars */
    uint64_t total[BATCH8_TOTAL_LIMBS];      /* of scalars */
} batch8_scalar_sum;

typedef struct {
    const batch8_item *items;
    uint8_t *verdicts, *hints_out;
    size_t count, message_bytes;
    uint8_t (*digests)[32]; /* room for a multiple of sixteen */
    comb8_scalars *scalars;
    batch8_number *expected;
    uint32_t *open; /* items to be decided, in order */
    size_t open_count;
    uint32_t *chosen; /* those of them that one way decides */
    comb8 *comb;

    /* Of hinted items. */
    uint32_t *hinted; /* those with a point for a hint */
    size_t hinted_count, budget;
    uint8_t (*coefficients)[16];
    uint32_t *item_key, *table; /* distinct keys by number; open addressing: key number + 1, 0 for none */
    size_t table_size;
    const void **keys;
    batch8_scalar_sum *key_sums;
    uint32_t *key_round, *touched; /* the sum in which key_sums was last begun; the keys of this sum */
    uint32_t key_count, round;
    sum8 sum;
} batch8;

/* Hand out the next bytes of the scratch memory; with base NULL only count them. */
static void *batch8_take(uint8_t *base, size_t *used, size_t bytes)
{
    void *taken = base == NULL ? NULL : base + *used;
    *used += (bytes + BATCH8_ALIGNMENT - 1) & ~(size_t)(BATCH8_ALIGNMENT - 1);
    return taken;
}

/* Points: R of each item, A and 2^128 A of each key, G and 2^128 G; eight unread ones behind for what fills vectors. */
static inline size_t batch8_points_max(size_t count) { return 3 * count + 2 + 8; }

/* Lay out the scratch memory for count items and return its size. */
static size_t batch8_lay_out(batch8 *out, uint8_t *base, size_t count)
{
    const size_t padded = (count + 31) & ~(size_t)31; /* digests come by sixteen, coefficients by 32 */
    const size_t terms = 3 * count + 2;
    size_t used = 0;
    out->count = count;
    out->digests = batch8_take(base, &used, padded * sizeof out->digests[0]);
    out->scalars = batch8_take(base, &used, count * sizeof out->scalars[0]);
    out->expected = batch8_take(base, &used, count * sizeof out->expected[0]);
    out->open = batch8_take(base, &used, (count + 1) * sizeof out->open[0]);
    out->chosen = batch8_take(base, &used, (count + 1) * sizeof out->chosen[0]);
    out->comb = batch8_take(base, &used, sizeof *out->comb);
    out->hinted = batch8_take(base, &used, (count + 1) * sizeof out->hinted[0]);
    out->coefficients = batch8_take(base, &used, padded * sizeof out->coefficients[0]);
    out->item_key = batch8_take(base, &used, count * sizeof out->item_key[0]);
    for (out->table_size = 16; out->table_size < 2 * count; out->table_size *= 2) {
    }
    out->table = batch8_take(base, &used, out->table_size * sizeof out->table[0]);
    out->keys = batch8_take(base, &used, count * sizeof out->keys[0]);
    out->key_sums = batch8_take(base, &used, count * sizeof out->key_sums[0]);
    out->key_round = batch8_take(base, &used, count * sizeof out->key_round[0]);
    out->touched = batch8_take(base, &used, count * sizeof out->touched[0]);
    out->sum.room = out->comb;
    out->sum.points = batch8_take(base, &used, batch8_points_max(count) * sizeof out->sum.points[0]);
    out->sum.terms = batch8_take(base, &used, terms * sizeof out->sum.terms[0]);
    out->sum.entries = batch8_take(base, &used, SUM8_PLACES * terms * sizeof out->sum.entries[0]);
    out->sum.buckets = batch8_take(base, &used, SUM8_BUCKETS * sizeof out->sum.buckets[0]);
    out->sum.counts = batch8_take(base, &used, SUM8_BUCKETS * sizeof out->sum.counts[0]);
    out->sum.starts = batch8_take(base, &used, SUM8_BUCKETS * sizeof out->sum.starts[0]);
    out->sum.order = batch8_take(base, &used, SUM8_BUCKETS * sizeof out->sum.order[0]);
    return used;
}

static inline void batch8_load_big_endian(uint64_t limbs[4], const uint8_t bytes[32])
{
    for (int i = 0; i < 4; i++) {
        uint64_t word;
        memcpy(&word, bytes + 24 - 8 * i, sizeof word);
        limbs[i] = __builtin_bswap64(word);
    }
}

static inline void batch8_store_big_endian(uint8_t bytes[32], const uint64_t limbs[4])
{
    for (int i = 0; i < 4; i++) {
        const uint64_t word = __builtin_bswap64(limbs[i]);
        memcpy(bytes + 24 - 8 * i, &word, sizeof word);
    }
}

static inline void batch8_decide_singly(batch8 *work, uint32_t item)
{
    work->verdicts[item] = (uint8_t)batch8_verify_singly(&work->items[item], work->digests[item]);
}

/* Whether x is expected + n: about one x in 2^128 leaves such a chance. */
static inline int batch8_is_above_order(const batch8_number *expected, const uint64_t x[4])
{
    uint64_t sum[4];
    carry_t carry = 0;
    for (int i = 0; i < 4; i++) {
        sum[i] = add_carry(expected->limbs[i], ORDER[i], &carry);
    }
    return carry == 0 && memcmp(sum, x, sizeof sum) == 0;
}

/* Write the lanes of an element as numbers below p. */
LANES_INLINE void batch8_leave(batch8_number out[8], const field8 *a)
{
    __m512i rows[8];
    const field8 plain = field8_leave(a);
    field8_pack(rows, &plain);
    for (int i = 4; i < 8; i++) {
        rows[i] = _mm512_setzero_si512();
    }
    cs_transpose8(rows);
    for (int lane = 0; lane < 8; lane++) {
        _mm256_storeu_si256((void *)out[lane].limbs, _mm512_castsi512_si256(rows[lane]));
    }
}

/* Give the verdicts of vector i of a chunk, whose sums are known, to its items. */
static inline void batch8_judge(batch8 *work, size_t i, const uint32_t *items, size_t lanes)
{
    const point8 *sum = &work->comb->sums[i];
    batch8_number x[8], y[8];
    batch8_leave(x, &sum->x);
    if (work->hints_out != NULL) {
        batch8_leave(y, &sum->y);
    }
    for (size_t lane = 0; lane < lanes; lane++) {
        const uint32_t item = items[lane];
        const batch8_number *expected = &work->expected[item];
        if ((work->comb->lost[i] >> lane & 1) != 0) {
            batch8_decide_singly(work, item);
        } else if (memcmp(expected, &x[lane], sizeof x[lane]) == 0) {
            work->verdicts[item] = 1;
            if (work->hints_out != NULL) {
                batch8_store_big_endian(work->hints_out + BATCH8_HINT_BYTES * (size_t)item, y[lane].limbs);
            }
        } else {
            work->verdicts[item] = (uint8_t)batch8_is_above_order(expected, x[lane].limbs);
        }
    }
}

/* Decide items each for itself; all have tables, or none. */
static void batch8_decide_chunk(batch8 *work, const uint32_t *items, size_t count, int with_tables)
{
    comb8 *const comb = work->comb;
    comb->vectors = (count + 7) / 8;
    comb->sums_each = with_tables ? comb8_sums_each(comb->vectors) : 1;
    for (size_t i = 0; i < comb->vectors; i++) {
        const comb8_scalars *scalars[8];
        const cs_weierstrass_point *keys[8];
        for (size_t lane = 0; lane < 8; lane++) {
            const uint32_t at = items[8 * i + lane < count ? 8 * i + lane : 8 * i];
            const batch8_item *item = &work->items[at];
            scalars[lane] = &work->scalars[at];
            keys[lane] = with_tables ? item->table : &item->key->multiples[0][0];
        }
        comb8_load(comb, i, scalars, keys);
    }
    if (with_tables) {
        comb8_sum_tables(comb);
    } else {
        comb8_sum_keys(comb);
    }
    for (size_t i = 0; i < comb->vectors; i++) {
        batch8_judge(work, i, items + 8 * i, count - 8 * i < 8 ? count - 8 * i : 8);
    }
}

/* Decide without hints those of some items that have a table, or those that have none. */
static void batch8_decide_some(batch8 *work, const uint32_t *items, size_t item_count, int with_tables)
{
    size_t count = 0;
    for (size_t i = 0; i < item_count; i++) {
        work->chosen[count] = items[i];
        count += (work->items[items[i]].table != NULL) == with_tables;
    }
    if (!with_tables && count < BATCH8_LANES_MIN && work->hints_out == NULL) {
        for (size_t i = 0; i < count; i++) {
            batch8_decide_singly(work, work->chosen[i]);
        }
        return;
    }
    for (size_t from = 0; from < count; from += BATCH8_CHUNK_ITEMS) {
        const size_t left = count - from;
        batch8_decide_chunk(work, work->chosen + from, left < BATCH8_CHUNK_ITEMS ? left : BATCH8_CHUNK_ITEMS,
                            with_tables);
    }
}

static inline void batch8_decide_unhinted(batch8 *work, const uint32_t *items, size_t count)
{
    batch8_decide_some(work, items, count, 1);
    batch8_decide_some(work, items, count, 0);
}

#endif
