/* The batch of ../batch.h: what is SM2's own, which is e, t and the x to be expected. */
#include "sm2/batch.h"

#if defined(__x86_64__)

#include "sm2/avx512ifma/curve8.h"

typedef cs_sm2_item batch8_item;

static inline int batch8_verify_singly(const batch8_item *item, const uint8_t digest[32])
{
    return cs_sm2_verify_digest(item->key, item->signature, digest);
}

#include "weierstrass/avx512ifma/batch8.h"

_Static_assert((int)BATCH8_SEED_BYTES == CS_SM2_SEED_BYTES && (int)BATCH8_HINT_BYTES == CS_SM2_HINT_BYTES &&
                   (int)BATCH8_ALIGNMENT == CS_SM2_SCRATCH_ALIGNMENT,
               "what the header states");
_Static_assert(COMB8_TABLE_BYTES % 64 == 0, "tables side by side keep their alignment");

int cs_sm2_batch_available(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512ifma") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("bmi2");
}

size_t cs_sm2_table_bytes(void) { return COMB8_TABLE_BYTES; }

size_t cs_sm2_batch_scratch_bytes(size_t count)
{
    batch8 unused;
    return batch8_lay_out(&unused, NULL, count);
}

void cs_sm2_tables_build(void *const *tables, const cs_sm2_key *const *keys, size_t count)
{
    cs_weierstrass_point *targets[8];
    const cs_weierstrass_point *sources[8];
    for (size_t lane = 0; lane < 8; lane++) {
        targets[lane] = tables[lane < count ? lane : 0];
        sources[lane] = &keys[lane < count ? lane : 0]->multiples[0][0];
    }
    comb8_build_tables(targets, sources);
}

/* digests[i] = e = SM3(Z || message) of each item. */
static void hash_items(batch8 *work)
{
    uint8_t *out[16];
    const uint8_t *heads[16], *bodies[16];
    for (size_t from = 0; from < work->count; from += 16) {
        for (size_t lane = 0; lane < 16; lane++) {
            const cs_sm2_item *item = &work->items[from + lane < work->count ? from + lane : from];
            out[lane] = work->digests[from + lane];
            heads[lane] = item->key->z;
            bodies[lane] = item->message;
        }
        cs_sm3_x16(out, heads, sizeof work->items->key->z, bodies, work->message_bytes);
    }
}

/* Check r, s and t = r + s of every item: those that may be good become open, to be s * G + t * A with x of r - e. */
static void read_signatures(batch8 *work)
{
    work->open_count = 0;
    for (size_t i = 0; i < work->count; i++) {
        uint64_t r[4], e[4], *s = work->scalars[i].base, *t = work->scalars[i].key;
        batch8_load_big_endian(r, work->items[i].signature);
        batch8_load_big_endian(s, work->items[i].signature + 32);
        batch8_load_big_endian(e, work->digests[i]);
        order_add(t, r, s);
        order_reduce(e, e);
        order_subtract(work->expected[i].limbs, r, e);
        const uint64_t zero = limbs_are_zero(r) | limbs_are_zero(s) | limbs_are_zero(t);
        work->open[work->open_count] = (uint32_t)i;
        work->open_count += (zero ^ 1) & limbs_below(r, ORDER) & limbs_below(s, ORDER);
    }
}

void cs_sm2_verify_batch(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_sm2_item *items, size_t count,
                         size_t message_bytes, const uint8_t seed[CS_SM2_SEED_BYTES])
{
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
        memset(hints_out, 0, CS_SM2_HINT_BYTES * count);
    }
    hash_items(&work);
    read_signatures(&work);
    batch8_decide(&work, seed);
}

#pragma GCC pop_options

#else

#include <string.h>

int cs_sm2_batch_available(void) { return 0; }

size_t cs_sm2_table_bytes(void) { return 0; }

size_t cs_sm2_batch_scratch_bytes(size_t count)
{
    (void)count;
    return 0;
}

void cs_sm2_tables_build(void *const *tables, const cs_sm2_key *const *keys, size_t count)
{
    (void)tables;
    (void)keys;
    (void)count;
}

/* Never called, because nothing is available; decides what it can all the same. */
void cs_sm2_verify_batch(uint8_t *verdicts, uint8_t *hints_out, void *scratch, const cs_sm2_item *items, size_t count,
                         size_t message_bytes, const uint8_t seed[CS_SM2_SEED_BYTES])
{
    (void)scratch;
    (void)seed;
    for (size_t i = 0; i < count; i++) {
        verdicts[i] = (uint8_t)cs_sm2_verify(items[i].key, items[i].signature, items[i].message, message_bytes);
    }
    if (hints_out != NULL) {
        memset(hints_out, 0, CS_SM2_HINT_BYTES * count);
    }
}

#endif
