/* The batch of ../batch.h: what is P-256's own, which is e, the division by s and the x to be expected. */
#include "p256/batch.h"

#if defined(__x86_64__)

#include "p256/avx512ifma/curve8.h"
#include "sha2/sha256_x16.h"

typedef cs_p256_item batch8_item;

static inline int batch8_verify_singly(const batch8_item *item, const uint8_t digest[32]) {
    return cs_p256_verify_digest(item->key, item->signature, digest);
}

#include "weierstrass/avx512ifma/batch8.h"

_Static_assert((int)BATCH8_SEED_BYTES == CS_P256_SEED_BYTES && (int)BATCH8_HINT_BYTES == CS_P256_HINT_BYTES &&
                   (int)BATCH8_ALIGNMENT == CS_P256_SCRATCH_ALIGNMENT,
               "what the header states");
_Static_assert(COMB8_TABLE_BYTES % 64 == 0, "tables side by side keep their alignment");

int cs_p256_batch_available(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2");
}

size_t cs_p256_table_bytes(void) { return COMB8_TABLE_BYTES; }

size_t cs_p256_batch_scratch_bytes(size_t count) {
    batch8 unused;
    return batch8_lay_out(&unused, NULL, count);
}

void cs_p256_tables_build(void *const *tables, const cs_p256_key *const *keys, size_t count) {
    cs_weierstrass_point *targets[8];
    const cs_weierstrass_point *sources[8];
    for (size_t lane = 0; lane < 8; lane++) {
        targets[lane] = tables[lane < count ? lane : 0];
        sources[lane] = &keys[lane < count ? lane : 0]->multiples[0][0];
    }
    comb8_build_tables(targets, sources);
}

/* digests[i] = SHA-256(message) of each item. */
static void hash_items(batch8 *work) {
    uint8_t *out[16];
    const uint8_t *bodies[16];
    for (size_t from = 0; from < work->count; from += 16) {
        for (size_t lane = 0; lane < 16; lane++) {
            out[lane] = work->digests[from + lane];
            bodies[lane] = work->items[from + lane < work->count ? from + lane : from].message;
        }
        cs_sha256_x16(out, NULL, 0, bodies, work->message_bytes);
    }
}

/* Check r and s of every item: those that may be good become open, the others are rejected here and now. */
static void read_signatures(batch8 *work) {
    work->open_count = 0;
    for (size_t i = 0; i < work->count; i++) {
        uint64_t *r = work->expected[i].limbs, *s = work->scalars[i].base, *e = work->scalars[i].key;
        batch8_load_big_endian(r, work->items[i].signature);
        batch8_load_big_endian(s, work->items[i].signature + 32);
        batch8_load_big_endian(e, work->digests[i]);
        work->open[work->open_count] = (uint32_t)i;
        work->open_count += (limbs_are_zero(r) ^ 1) & (limbs_are_zero(s) ^ 1) & limbs_below(r, ORDER) &
                            limbs_below(s, ORDER_HALF);
    }
}

/* Put u1 = e / s and u2 = r / s in the places of s and e of the open items. */
static void divide(batch8 *work) {
    field8 *const inverses = work->comb->differences, *const products = work->comb->products; /* not in use yet */
    const size_t chunk = 8 * COMB8_VECTORS_MAX;
    for (size_t from = 0; from < work->open_count; from += chunk) {
        const size_t count = work->open_count - from < chunk ? work->open_count - from : chunk;
        const size_t vectors = (count + 7) / 8;
        uint32_t at[8];
        const uint64_t *rows[8];
        for (size_t v = 0; v < vectors; v++) {
            for (size_t lane = 0; lane < 8; lane++) {
                const size_t i = 8 * v + lane;
                rows[lane] = work->scalars[work->open[from + (i < count ? i : 8 * v)]].base;
            }
            const field8 s = field8_gather(rows);
            inverses[v] = order8_enter(&s);
        }
        order8_invert_public(inverses, products, vectors);
        for (size_t v = 0; v < vectors; v++) {
            __m512i words[8];
            for (size_t lane = 0; lane < 8; lane++) {
                const size_t i = 8 * v + lane;
                at[lane] = work->open[from + (i < count ? i : 8 * v)];
                rows[lane] = work->scalars[at[lane]].key;
            }
            const field8 digest = field8_gather(rows), e = order8_less_n(&digest);
            for (size_t lane = 0; lane < 8; lane++) {
                rows[lane] = work->expected[at[lane]].limbs;
            }
            const field8 r = field8_gather(rows);
            const field8 u1 = order8_multiply(&e, &inverses[v]), u2 = order8_multiply(&r, &inverses[v]);
            field8_pack(words, &u1);
            field8_pack(words + 4, &u2);
            cs_transpose8(words);
            for (size_t lane = 0; lane < 8; lane++) {
                _mm512_storeu_si512(&work->scalars[at[lane]], words[lane]);
            }
        }
    }
}

void cs_p256_verify_batch(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_p256_item *items, size_t count,
                         size_t message_bytes, const uint8_t seed[CS_P256_SEED_BYTES]) {
    batch8 work;
    if (count == 0) {
        return;
    }
    batch8_lay_out(&work, scratch, count);
    work.items = items;
    work.verdicts = verdicts;
    work.hints_out = hints_out;
    work.message_bytes = message_bytes;
    memset(verdicts, 0, count);
    if (hints_out != NULL) {
        memset(hints_out, 0, CS_P256_HINT_BYTES * count);
    }
    hash_items(&work);
    read_signatures(&work);
    divide(&work);
    batch8_decide(&work, seed);
}

#pragma GCC pop_options

#else

#include <string.h>

int cs_p256_batch_available(void) { return 0; }

size_t cs_p256_table_bytes(void) { return 0; }

size_t cs_p256_batch_scratch_bytes(size_t count) {
    (void)count;
    return 0;
}

void cs_p256_tables_build(void *const *tables, const cs_p256_key *const *keys, size_t count) {
    (void)tables;
    (void)keys;
    (void)count;
}

/* Never called, because nothing is available; decides what it can all the same. */
void cs_p256_verify_batch(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_p256_item *items, size_t count,
                         size_t message_bytes, const uint8_t seed[CS_P256_SEED_BYTES]) {
    (void)scratch;
    (void)seed;
    for (size_t i = 0; i < count; i++) {
        verdicts[i] = (uint8_t)cs_p256_verify(items[i].key, items[i].signature, items[i].message, message_bytes);
    }
    if (hints_out != NULL) {
        memset(hints_out, 0, CS_P256_HINT_BYTES * count);
    }
}

#endif
