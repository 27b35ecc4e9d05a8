/* The batch in portable C: no instruction set is asked for. */
#define ROOTS_AT_ONCE 4 /* powers in step hide each other's latency */
#include "ed25519/lanes1.h"
#include "sha2/sha512.h"

static inline void fields_square(fields *a)
{
    for (int i = 0; i < ROOTS_AT_ONCE; i++) {
        field_square(a->at[i], a->at[i]);
    }
}

/* a = a^(2^count) b. */
static __attribute__((noinline)) void fields_raise(fields *a, int count, const fields *b)
{
    for (int i = 0; i < count; i++) {
        fields_square(a);
    }
    for (int i = 0; i < ROOTS_AT_ONCE; i++) {
        field_multiply(a->at[i], a->at[i], b->at[i]);
    }
}

/* a = a^((p - 5) / 8) = a^(2^252 - 3). */
static void fields_power_of_root(fields *a)
{
    fields t = *a, u, v;
    fields_square(&t);         /* 2 */
    u = t;
    fields_raise(&u, 2, a);    /* 9 */
    v = u;
    fields_raise(&t, 0, &u);   /* 11 */
    fields_raise(&t, 1, &v);   /* 2^5 - 1 */
    u = t;
    fields_raise(&t, 5, &u);   /* 2^10 - 1 */
    u = t;
    fields_raise(&u, 10, &t);  /* 2^20 - 1 */
    v = u;
    fields_raise(&v, 20, &u);  /* 2^40 - 1 */
    fields_raise(&v, 10, &t);  /* 2^50 - 1 */
    t = v;
    fields_raise(&t, 50, &v);  /* 2^100 - 1 */
    u = t;
    fields_raise(&u, 100, &t); /* 2^200 - 1 */
    fields_raise(&u, 50, &v);  /* 2^250 - 1 */
    fields_raise(&u, 2, a);
    *a = u;
}

/* The point that an affine one is, times four in every coordinate so that nothing is halved. */
static void point_from_affine(point *out, const cs_ed25519_affine *a, uint32_t negative)
{
    static const field four = {4, 0, 0, 0, 0}, one = {1, 0, 0, 0, 0};
    field twice_x, twice_y;
    field_subtract(twice_x, negative ? a->y_minus_x : a->y_plus_x, negative ? a->y_plus_x : a->y_minus_x);
    field_add(twice_y, a->y_plus_x, a->y_minus_x);
    field_multiply(out->t, twice_x, twice_y);
    field_add(twice_x, twice_x, twice_x);
    field_multiply(out->x, twice_x, one);
    field_add(twice_y, twice_y, twice_y);
    field_multiply(out->y, twice_y, one);
    field_copy(out->z, four);
}

static void fill16(const sum_work *work, const uint32_t buckets[16])
{
    for (int i = 0; i < 16; i++) {
        const uint32_t count = work->counts[buckets[i]];
        const uint32_t *entries = work->entries + (work->starts[buckets[i]] - count);
        point sum;
        if (count == 0) {
            continue; /* nor is it read */
        }
        point_from_affine(&sum, (const cs_ed25519_affine *)work->points[entries[0] >> 1], entries[0] & 1);
        for (uint32_t step = 1; step < count; step++) {
            const cs_ed25519_affine *term = (const cs_ed25519_affine *)work->points[entries[step] >> 1];
            completed next;
            if (step + 1 < count) {
                __builtin_prefetch(work->points[entries[step + 1] >> 1]); /* it may lie anywhere: ask for it early */
                __builtin_prefetch(work->points[entries[step + 1] >> 1] + 8);
            }
            if ((entries[step] & 1) != 0) {
                point_subtract_affine(&next, &sum, term);
            } else {
                point_add_affine(&next, &sum, term);
            }
            completed_to_extended(&sum, &next);
        }
        memcpy(work->buckets[buckets[i]], &sum, sizeof sum);
    }
}

static void hash8(uint64_t out[8][8], const uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX], size_t prefix_bytes,
                  const uint8_t *const messages[8], size_t message_bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cs_sha512_ctx ctx;
        uint8_t digest[CS_SHA512_BYTES];
        cs_sha512_init(&ctx);
        cs_sha512_update(&ctx, prefixes[i], prefix_bytes);
        cs_sha512_update(&ctx, messages[i], message_bytes);
        cs_sha512_final(&ctx, digest);
        for (int limb = 0; limb < 8; limb++) {
            out[i][limb] = field_load_word(digest + 8 * limb);
        }
    }
}

const cs_ed25519_lanes cs_ed25519_lanes_portable = {
    .decode16 = decode16,
    .check16 = check16,
    .hash8 = hash8,
    .verify8 = verify8,
    .fill16 = fill16,
    .weigh8 = weigh8,
    .width_terms = {100, 300, 900, 1500, 3000, 6000, UINT32_MAX},
    .sum_cost = 30,
    .leaf_items = 8,
    .singly_items_max = 10,
    .budget_factor = 2,
};
