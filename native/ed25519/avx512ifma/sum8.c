/* Buckets of a sum, one in each lane: sixteen are filled at a time, in two vectors that hide each other's latency, and
 * eight places are weighed at a time. */
#if defined(__x86_64__)

#include "ed25519/avx512ifma/lanes8.h"

static void point8_store(uint64_t *const words[8], const point8 *a)
{
    const field8 twice_d = field8_broadcast(FIELD_2D);
    const field8 cross = field8_multiply(&a->t, &twice_d);
    __m512i rows[24];
    for (int i = 0; i < 5; i++) {
        rows[i] = a->minus.limb[i];
        rows[5 + i] = a->plus.limb[i];
        rows[10 + i] = a->z.limb[i];
        rows[15 + i] = cross.limb[i];
    }
    for (int i = 20; i < 24; i++) {
        rows[i] = _mm512_setzero_si512();
    }
    for (int part = 0; part < 24; part += 8) {
        cs_transpose8(rows + part);
        for (int lane = 0; lane < 8; lane++) {
            _mm512_storeu_si512(words[lane] + part, rows[part + lane]);
        }
    }
}

/* Load eight neighbouring buckets; t holds 2 d T. */
static inline point8 point8_load_prepared(const uint64_t (*words)[SUM_BUCKET_WORDS])
{
    __m512i rows[24];
    point8 out;
    for (int part = 0; part < 24; part += 8) {
        for (int lane = 0; lane < 8; lane++) {
            rows[part + lane] = _mm512_loadu_si512(words[lane] + part);
        }
        cs_transpose8(rows + part);
    }
    for (int i = 0; i < 5; i++) {
        out.minus.limb[i] = rows[i];
        out.plus.limb[i] = rows[5 + i];
        out.z.limb[i] = rows[10 + i];
        out.t.limb[i] = rows[15 + i];
    }
    return out;
}

/* The point that an affine one is, times four in every coordinate so that nothing is halved. */
static inline point8 point8_from_affine(const affine8 *a)
{
    static const uint64_t four[5] = {4};
    const wide8 minus = wide8_of(&a->minus), plus = wide8_of(&a->plus);
    const wide8 twice_minus = wide8_add(minus, minus), twice_plus = wide8_add(plus, plus);
    const field8 twice_x = field8_carry(wide8_subtract(plus, minus, 52));
    const field8 twice_y = field8_carry(wide8_add(plus, minus));
    point8 out;
    out.minus = field8_carry(wide8_add(twice_minus, twice_minus));
    out.plus = field8_carry(wide8_add(twice_plus, twice_plus));
    out.z = field8_broadcast(four);
    out.t = field8_multiply(&twice_x, &twice_y);
    return out;
}

/* An entry of a bucket, or the identity behind its last. */
static inline uint32_t entry_at(const sum_work *work, const uint32_t *entries, uint32_t count, uint32_t index)
{
    return index < count ? entries[index] : work->identity << 1;
}

/* Load what eight buckets take at a step; returns the lanes that subtract it. */
FIELD8_INLINE __mmask8 load_step(affine8 *out, const sum_work *work, const uint32_t *const entries[8],
                                 const uint32_t counts[8], uint32_t step)
{
    const uint64_t *words[8];
    uint32_t negative = 0;
    for (int lane = 0; lane < 8; lane++) {
        const uint32_t entry = entry_at(work, entries[lane], counts[lane], step);
        const uint32_t following = entry_at(work, entries[lane], counts[lane], step + 1);
        words[lane] = work->points[entry >> 1];
        negative |= (entry & 1) << lane;
        __builtin_prefetch(work->points[following >> 1]); /* it may lie anywhere: ask for it early */
        __builtin_prefetch(work->points[following >> 1] + 8);
    }
    *out = affine8_load(words, (__mmask8)negative);
    return (__mmask8)negative;
}

void cs_ed25519_fill16(const sum_work *work, const uint32_t buckets[16])
{
    const uint32_t *entries[16];
    uint32_t counts[16], steps = 0;
    uint64_t *targets[16];
    affine8 terms[2];
    point8 sums[2];
    for (int i = 0; i < 16; i++) {
        const uint32_t bucket = buckets[i];
        counts[i] = work->counts[bucket];
        entries[i] = work->entries + (work->starts[bucket] - counts[i]);
        steps = counts[i] > steps ? counts[i] : steps;
        targets[i] = work->buckets[bucket];
    }
    for (int half = 0; half < 2; half++) {
        load_step(&terms[half], work, entries + 8 * half, counts + 8 * half, 0);
        sums[half] = point8_from_affine(&terms[half]);
    }
    for (uint32_t step = 1; step < steps; step++) {
        const __mmask8 negative[2] = {
            load_step(&terms[0], work, entries, counts, step),
            load_step(&terms[1], work, entries + 8, counts + 8, step),
        };
        point8_add_affine_pair(sums, terms, negative);
    }
    point8_store(targets, &sums[0]);
    point8_store(targets + 8, &sums[1]);
}

void cs_ed25519_weigh8(point out[8], const sum_work *work, size_t digit_count, size_t first_place)
{
    const field8 twice_d = field8_broadcast(FIELD_2D);
    size_t digit = digit_count - 1;
    const uint64_t *words[8];
    for (int lane = 0; lane < 8; lane++) {
        words[lane] = work->points[work->identity];
    }
    const affine8 nothing = affine8_load(words, 0);
    point8 running = point8_from_affine(&nothing), total = running;
    do {
        const point8 bucket =
            point8_load_prepared((const uint64_t(*)[SUM_BUCKET_WORDS])work->buckets + digit * work->lanes + first_place);
        point8_add_prepared(&running, &bucket, &bucket.t);
        const field8 cross = field8_multiply(&running.t, &twice_d);
        point8_add_prepared(&total, &running, &cross);
    } while (digit-- > 0);

    /* (X, Y, Z, T), all doubled. */
    const field8 coordinates[4] = {
        field8_carry(wide8_subtract(wide8_of(&total.plus), wide8_of(&total.minus), 52)),
        field8_carry(wide8_add(wide8_of(&total.plus), wide8_of(&total.minus))),
        field8_carry(wide8_add(wide8_of(&total.z), wide8_of(&total.z))),
        field8_carry(wide8_add(wide8_of(&total.t), wide8_of(&total.t))),
    };
    uint64_t limbs[4][5][8];
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 5; j++) {
            _mm512_storeu_si512(limbs[i][j], coordinates[i].limb[j]);
        }
    }
    for (int lane = 0; lane < 8; lane++) {
        for (int j = 0; j < 5; j++) {
            out[lane].x[j] = limbs[0][j][lane];
            out[lane].y[j] = limbs[1][j][lane];
            out[lane].z[j] = limbs[2][j][lane];
            out[lane].t[j] = limbs[3][j][lane];
        }
    }
}

#pragma GCC pop_options

#endif

typedef int cs_ed25519_sum8_is_not_empty; /* ISO C wants a declaration in every file */
