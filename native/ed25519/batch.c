/* The batch of batch.h, on whatever lanes there are: what each item needs is computed once (R decoded, k hashed, z
 * drawn); the sum is then taken over whatever part of the batch is in question. */
#include "ed25519/batch.h"

#include "common/variant.h"
#include "ed25519/lanes.h"
#include "ed25519/tables.h"

enum {
    HALF_COLUMN = CS_ED25519_COLUMNS / 2, /* the column that holds [2^128] of its point */
    DIGEST_LIMBS = 8,
    KEY_SUM_LIMBS = 11,     /* 4096 products of 127 and 512 bits */
    RESPONSE_SUM_LIMBS = 7, /* 4096 products of 127 and 253 bits */
};

/* 2^512 mod L. */
static const scalar TWO_TO_512 = {0xa40611e3449c0f01, 0xd00e1ba768859347, 0xceec73d217f5be65, 0x0399411b7c309a3d};

typedef struct {
    const cs_ed25519_lanes *lanes;
    const cs_ed25519_item *items;
    uint8_t *verdicts, *hints_out;
    size_t count, message_bytes;
    uint64_t (*digests)[DIGEST_LIMBS]; /* SHA-512(R || A || M), not reduced */
    uint64_t (*coefficients)[2];       /* z, below 2^127 */
    uint32_t *active;                  /* the items in question: those that are well formed, in order */
    size_t active_count;
    size_t leaf_items, budget;

    /* Distinct keys, numbered as they come. */
    uint32_t *item_key;
    uint32_t *table; /* open addressing: key number + 1, 0 for none */
    size_t table_size;
    const cs_ed25519_key **keys;
    uint64_t (*key_sums)[KEY_SUM_LIMBS];
    uint32_t *key_round; /* the sum in which key_sums was last begun */
    uint32_t *touched;
    uint32_t key_count, round;
    sum_work sum;
} batch;

static const cs_ed25519_lanes *chosen_lanes(void)
{
#if defined(__x86_64__)
    if (cs_variant() >= CS_VARIANT_AVX512IFMA) {
        return &cs_ed25519_lanes_avx512ifma;
    }
    if (cs_variant() >= CS_VARIANT_AVX2) {
        return &cs_ed25519_lanes_avx2;
    }
#endif
    return &cs_ed25519_lanes_portable;
}

/* Points: R of each item, A and [2^128]A of each key, B and [2^128]B, the identity; 16 that nobody reads. */
static inline size_t point_count_max(size_t count) { return 3 * count + 3 + 16; }

static inline size_t term_count_max(size_t count) { return 3 * count + 2; }

static inline size_t table_size_for(size_t count)
{
    size_t size = 16;
    while (size < 2 * count) {
        size *= 2;
    }
    return size;
}

/* Hand out the next bytes of the scratch memory; with base NULL only count them. */
static void *take(uint8_t *base, size_t *used, size_t bytes)
{
    void *taken = base == NULL ? NULL : base + *used;
    *used += (bytes + CS_ED25519_SCRATCH_ALIGNMENT - 1) & ~(size_t)(CS_ED25519_SCRATCH_ALIGNMENT - 1);
    return taken;
}

/* Lay out the scratch memory for count items and return its size. */
static size_t lay_out(batch *out, uint8_t *base, size_t count)
{
    const size_t terms = term_count_max(count), buckets = cs_ed25519_sum_buckets_max(out->lanes, terms);
    const size_t padded = (count + 31) & ~(size_t)31; /* digests come by eight, coefficients by 32 */
    size_t used = 0;
    out->sum.points = take(base, &used, point_count_max(count) * sizeof out->sum.points[0]);
    out->sum.terms = take(base, &used, terms * sizeof out->sum.terms[0]);
    out->sum.entries = take(base, &used, cs_ed25519_sum_entries_max(out->lanes, terms) * sizeof out->sum.entries[0]);
    out->sum.buckets = take(base, &used, buckets * sizeof out->sum.buckets[0]);
    out->sum.counts = take(base, &used, buckets * sizeof out->sum.counts[0]);
    out->sum.starts = take(base, &used, buckets * sizeof out->sum.starts[0]);
    out->sum.order = take(base, &used, buckets * sizeof out->sum.order[0]);
    out->digests = take(base, &used, padded * sizeof out->digests[0]);
    out->coefficients = take(base, &used, padded * sizeof out->coefficients[0]);
    out->active = take(base, &used, count * sizeof out->active[0]);
    out->item_key = take(base, &used, count * sizeof out->item_key[0]);
    out->table_size = table_size_for(count);
    out->table = take(base, &used, out->table_size * sizeof out->table[0]);
    out->keys = take(base, &used, count * sizeof out->keys[0]);
    out->key_sums = take(base, &used, count * sizeof out->key_sums[0]);
    out->key_round = take(base, &used, count * sizeof out->key_round[0]);
    out->touched = take(base, &used, count * sizeof out->touched[0]);
    return used;
}

size_t cs_ed25519_batch_scratch_bytes(size_t count)
{
    batch work;
    work.lanes = chosen_lanes();
    return lay_out(&work, NULL, count);
}

static int has_hint(const cs_ed25519_item *item)
{
    static const uint8_t none[CS_ED25519_HINT_BYTES] = {0};
    return item->hint != NULL && memcmp(item->hint, none, sizeof none) != 0;
}

/* Read R of the items that are listed, by their hints or without; verdicts[i] = whether that was possible. */
static void read_commitments(batch *work, const uint32_t *listed, size_t listed_count, int hinted)
{
    const uint8_t *encoded[16], *hints[16];
    uint8_t *hints_out[16], unread[CS_ED25519_HINT_BYTES];
    uint64_t *out[16];
    for (size_t from = 0; from < listed_count; from += 16) {
        const size_t left = listed_count - from < 16 ? listed_count - from : 16;
        for (size_t lane = 0; lane < 16; lane++) {
            const uint32_t at = listed[from + (lane < left ? lane : 0)];
            encoded[lane] = work->items[at].signature;
            hints[lane] = work->items[at].hint;
            out[lane] = work->sum.points[lane < left ? at : point_count_max(work->count) - 16 + lane];
            hints_out[lane] = lane < left && work->hints_out != NULL ? work->hints_out + CS_ED25519_HINT_BYTES * at
                                                                     : unread;
        }
        const uint32_t read = hinted ? work->lanes->check16(out, encoded, hints, left)
                                     : work->lanes->decode16(out, work->hints_out != NULL ? hints_out : NULL, encoded,
                                                             left);
        for (size_t lane = 0; lane < left; lane++) {
            const uint32_t at = listed[from + lane];
            work->verdicts[at] = read >> lane & 1;
            if (hinted && work->hints_out != NULL) {
                memcpy(hints_out[lane], hints[lane], CS_ED25519_HINT_BYTES);
            }
        }
    }
}

/* Decode R of every item and check S: the well formed become active, the others are rejected here and now. A hint that
 * does not lead to R is as none. */
static void read_signatures(batch *work)
{
    uint32_t *const listed = work->active;
    size_t listed_count = 0;
    for (size_t i = 0; i < work->count; i++) {
        work->verdicts[i] = 0;
        if (has_hint(&work->items[i])) {
            listed[listed_count++] = (uint32_t)i;
        }
    }
    read_commitments(work, listed, listed_count, 1);
    listed_count = 0;
    for (size_t i = 0; i < work->count; i++) {
        if (work->verdicts[i] == 0) {
            listed[listed_count++] = (uint32_t)i;
        }
    }
    read_commitments(work, listed, listed_count, 0);
    work->active_count = 0;
    for (size_t i = 0; i < work->count; i++) {
        scalar response;
        scalar_load(response, work->items[i].signature + 32);
        if (work->verdicts[i] != 0 && scalar_is_canonical(response)) {
            work->active[work->active_count++] = (uint32_t)i;
        }
        work->verdicts[i] = 0;
    }
}

/* digests[i] = SHA-512(R || A || M) of each item. */
static void hash_items(batch *work)
{
    uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX];
    const uint8_t *messages[8];
    for (size_t from = 0; from < work->count; from += 8) {
        for (size_t lane = 0; lane < 8; lane++) {
            const cs_ed25519_item *item = &work->items[from + lane < work->count ? from + lane : from];
            memcpy(prefixes[lane], item->signature, 32);
            memcpy(prefixes[lane] + 32, item->key->encoded, 32);
            messages[lane] = item->message;
        }
        work->lanes->hash8(work->digests + from, (const uint8_t(*)[CS_SHA512_X8_PREFIX_BYTES_MAX])prefixes, 64,
                           messages, work->message_bytes, work->count - from < 8 ? work->count - from : 8);
    }
}

/* Draw z for every item: SHA-512(seed || counter) gives four of them. */
static void draw_coefficients(batch *work, const uint8_t seed[CS_ED25519_SEED_BYTES])
{
    uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX];
    static const uint8_t *const no_messages[8] = {NULL};
    uint64_t digests[8][8];
    for (size_t from = 0; from < work->count; from += 32) {
        for (size_t lane = 0; lane < 8; lane++) {
            const uint64_t counter = from / 4 + lane;
            memcpy(prefixes[lane], seed, CS_ED25519_SEED_BYTES);
            memcpy(prefixes[lane] + CS_ED25519_SEED_BYTES, &counter, sizeof counter);
        }
        work->lanes->hash8(digests, (const uint8_t(*)[CS_SHA512_X8_PREFIX_BYTES_MAX])prefixes,
                           CS_ED25519_SEED_BYTES + sizeof(uint64_t), no_messages, 0, 8);
        memcpy(work->coefficients[from], digests, sizeof digests);
        for (size_t i = from; i < from + 32; i++) {
            work->coefficients[i][1] &= UINT64_MAX >> 1;
        }
    }
}

/* Number the keys of active items, so that what one key contributes is summed before it is multiplied. */
static void number_keys(batch *work)
{
    memset(work->table, 0, work->table_size * sizeof work->table[0]);
    work->key_count = 0;
    for (size_t i = 0; i < work->active_count; i++) {
        const cs_ed25519_key *key = work->items[work->active[i]].key;
        size_t at = (size_t)((uint64_t)(uintptr_t)key * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (work->table_size - 1);
        while (work->table[at] != 0 && work->keys[work->table[at] - 1] != key) {
            at = (at + 1) & (work->table_size - 1);
        }
        if (work->table[at] == 0) {
            uint64_t(*points)[STORED_WORDS] = work->sum.points + work->count + 2 * (size_t)work->key_count;
            memcpy(points[0], &key->columns[0][0], sizeof key->columns[0][0]);
            memcpy(points[1], &key->columns[HALF_COLUMN][0], sizeof key->columns[0][0]);
            work->keys[work->key_count] = key;
            work->key_round[work->key_count] = 0;
            work->table[at] = ++work->key_count;
        }
        work->item_key[work->active[i]] = work->table[at] - 1;
    }
    uint64_t(*points)[STORED_WORDS] = work->sum.points + work->count + 2 * (size_t)work->key_count;
    memcpy(points[0], &cs_ed25519_base_columns[0][0], sizeof(cs_ed25519_affine));
    memcpy(points[1], &cs_ed25519_base_columns[HALF_COLUMN][0], sizeof(cs_ed25519_affine));
    memcpy(points[2], STORED_IDENTITY, sizeof STORED_IDENTITY);
    work->sum.identity = (uint32_t)(work->count + 2 * (size_t)work->key_count + 2);
    work->round = 0;
}

/* sum += z a, for a of limb_count limbs; sum has more. */
static inline void add_product(uint64_t *sum, size_t sum_limbs, const uint64_t z[2], const uint64_t *a,
                               size_t limb_count)
{
    for (size_t i = 0; i < 2; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < limb_count; j++) {
            const field_wide t = (field_wide)z[i] * a[j] + sum[i + j] + carry;
            sum[i + j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
        for (size_t j = i + limb_count; j < sum_limbs; j++) {
            const field_wide t = (field_wide)sum[j] + carry;
            sum[j] = (uint64_t)t;
            carry = (uint64_t)(t >> 64);
        }
    }
}

/* out = an eleven-limb number modulo L. */
static void reduce_key_sum(scalar out, const uint64_t sum[KEY_SUM_LIMBS])
{
    scalar low;
    const scalar high = {sum[8], sum[9], sum[10], 0};
    scalar_reduce(low, sum);
    scalar_multiply_add(out, high, TWO_TO_512, low);
}

/* Append the terms [a]P for a below L, of P and [2^128]P at points first and first + 1. */
static void add_scalar_terms(sum_work *sum, const scalar a, uint32_t first)
{
    scalar rest = {a[0], a[1], a[2], a[3]};
    for (uint32_t half = 0; half < 2; half++) {
        sum_term *term = &sum->terms[sum->term_count++];
        uint64_t low = rest[2 * half], high = rest[2 * half + 1];
        term->point = first + half;
        term->negative = 0;
        if (half == 0 && (high >> 63) != 0) { /* write it as what it lacks to 2^128 */
            low = 0 - low;
            high = ~high + (low == 0);
            term->negative = 1;
            rest[2]++;
            rest[3] += rest[2] == 0;
        }
        term->magnitude[0] = low;
        term->magnitude[1] = high;
    }
}

/* out = the random combination of active items from first to last, exclusive, before the cofactor. */
static void sum_items(point *out, batch *work, size_t first, size_t last)
{
    uint64_t responses[RESPONSE_SUM_LIMBS + 1] = {0};
    uint32_t touched_count = 0;
    scalar total;
    sum_work *const sum = &work->sum;
    const uint32_t round = ++work->round;
    const size_t cost = last - first + work->lanes->sum_cost;
    work->budget -= cost < work->budget ? cost : work->budget;

    sum->term_count = 0;
    for (size_t i = first; i < last; i++) {
        const uint32_t item = work->active[i], key = work->item_key[item];
        const uint64_t *z = work->coefficients[item];
        scalar response;
        if (work->key_round[key] != round) {
            work->key_round[key] = round;
            work->touched[touched_count++] = key;
            memset(work->key_sums[key], 0, sizeof work->key_sums[key]);
        }
        add_product(work->key_sums[key], KEY_SUM_LIMBS, z, work->digests[item], DIGEST_LIMBS);
        scalar_load(response, work->items[item].signature + 32);
        add_product(responses, RESPONSE_SUM_LIMBS, z, response, 4);
        sum->terms[sum->term_count++] = (sum_term){{z[0], z[1]}, item, 0};
    }
    for (uint32_t i = 0; i < touched_count; i++) {
        const uint32_t key = work->touched[i];
        reduce_key_sum(total, work->key_sums[key]);
        add_scalar_terms(sum, total, (uint32_t)work->count + 2 * key);
    }
    scalar_reduce(total, responses);
    const size_t base_terms = sum->term_count;
    add_scalar_terms(sum, total, sum->identity - 2);
    for (size_t i = base_terms; i < sum->term_count; i++) {
        sum->terms[i].negative ^= 1;
    }
    cs_ed25519_sum_terms(out, work->lanes, sum);
}

/* Return 1 when eight times a point is the identity. */
static int is_small(const point *a)
{
    point multiple = *a;
    point_multiply_by_cofactor(&multiple);
    return point_is_identity(&multiple);
}

/* out = a - b. */
static void point_subtract(point *out, const point *a, const point *b)
{
    point negative = *b;
    completed difference;
    field_negate(negative.x, b->x);
    field_negate(negative.t, b->t);
    point_add(&difference, a, &negative);
    completed_to_extended(out, &difference);
}

/* Decide active items from first to last, exclusive, each for itself; returns how many are bad. */
static size_t decide_singly(batch *work, size_t first, size_t last)
{
    size_t bad = 0;
    for (size_t from = first; from < last; from += 8) {
        single_item singles[8];
        for (size_t lane = 0; lane < 8; lane++) {
            const uint32_t at = work->active[from + lane < last ? from + lane : from];
            const cs_ed25519_item *item = &work->items[at];
            singles[lane].key = item->key;
            singles[lane].commitment = work->sum.points[at];
            scalar_load(singles[lane].response, item->signature + 32);
            scalar_reduce(singles[lane].challenge, work->digests[at]);
        }
        const uint32_t good = work->lanes->verify8(singles, last - from < 8 ? last - from : 8);
        for (size_t lane = 0; lane < 8 && from + lane < last; lane++) {
            const uint8_t verdict = good >> lane & 1;
            work->verdicts[work->active[from + lane]] = verdict;
            bad += 1 - (size_t)verdict;
        }
    }
    return bad;
}

/* Decide active items from first to last, exclusive, whose sum is known. Only the left half is summed, the right half is
 * what it leaves; the depth is at most log2(CS_ED25519_BATCH_MAX). Where a leaf turns out mostly bad, leaves double, so
 * that a batch of bad items costs little more than deciding all singly; a part that passes makes them small again. The
 * budget bounds what remains: bad items spread so that every part holds some. */
static void decide(batch *work, size_t first, size_t last, const point *sum)
{
    const size_t count = last - first, middle = first + count / 2;
    point left, right;
    if (is_small(sum)) {
        for (size_t i = first; i < last; i++) {
            work->verdicts[work->active[i]] = 1;
        }
        work->leaf_items = work->lanes->leaf_items;
    } else if (count <= work->leaf_items || work->budget == 0) {
        const size_t bad = decide_singly(work, first, last);
        work->leaf_items = 4 * bad >= count ? 2 * work->leaf_items : work->lanes->leaf_items;
    } else {
        sum_items(&left, work, first, middle);
        point_subtract(&right, sum, &left);
        decide(work, first, middle, &left);
        decide(work, middle, last, &right);
    }
}

/* Set the verdicts of a batch that is laid out. */
static void decide_batch(batch *work, const uint8_t seed[CS_ED25519_SEED_BYTES])
{
    point sum;
    read_signatures(work);
    hash_items(work);
    if (work->active_count <= work->lanes->singly_items_max) {
        decide_singly(work, 0, work->active_count);
        return;
    }
    work->leaf_items = work->lanes->leaf_items;
    work->budget = work->lanes->budget_factor * (work->count + work->lanes->sum_cost);
    draw_coefficients(work, seed);
    number_keys(work);
    sum_items(&sum, work, 0, work->active_count);
    decide(work, 0, work->active_count, &sum);
}

void cs_ed25519_verify_batch(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_ed25519_item *items,
                             size_t count, size_t message_bytes, const uint8_t seed[CS_ED25519_SEED_BYTES])
{
    batch work;
    work.lanes = chosen_lanes();
    lay_out(&work, scratch, count);
    work.items = items;
    work.verdicts = verdicts;
    work.hints_out = hints_out;
    work.count = count;
    work.message_bytes = message_bytes;
    decide_batch(&work, seed);
    for (size_t i = 0; i < count && hints_out != NULL; i++) {
        if (verdicts[i] == 0) {
            memset(hints_out + CS_ED25519_HINT_BYTES * i, 0, CS_ED25519_HINT_BYTES);
        }
    }
}

int cs_ed25519_batch_available(void) { return 1; }

void cs_ed25519_sign_batch(const cs_ed25519_signing_item *items, size_t count, size_t message_bytes)
{
#if defined(__x86_64__)
    if (cs_variant() >= CS_VARIANT_AVX512IFMA) {
        cs_ed25519_sign_batch_avx512ifma(items, count, message_bytes);
        return;
    }
#endif
    for (size_t i = 0; i < count; i++) {
        cs_ed25519_sign(items[i].signature, items[i].secret, items[i].public_key, items[i].message, message_bytes);
    }
}
