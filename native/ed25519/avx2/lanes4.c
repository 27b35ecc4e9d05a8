/* The batch in AVX2: roots and buckets in four lanes, the rest of lanes1.h compiled for this instruction set. */
#if defined(__x86_64__)

#pragma GCC push_options
#pragma GCC target("avx2,bmi2")

#include "ed25519/avx2/field4.h"

#define ROOTS_AT_ONCE 8 /* two vectors, which hide each other's latency */
#include "ed25519/lanes1.h"
#include "sha2/sha512_x4.h"

typedef struct {
    field4 half[2];
} field8;

static inline void square8(field8 *a)
{
    field4_square(&a->half[0], &a->half[0]);
    field4_square(&a->half[1], &a->half[1]);
}

/* a = a^(2^count) b. */
static __attribute__((noinline)) void raise8(field8 *a, int count, const field8 *b)
{
    for (int i = 0; i < count; i++) {
        square8(a);
    }
    field4_multiply(&a->half[0], &a->half[0], &b->half[0]);
    field4_multiply(&a->half[1], &a->half[1], &b->half[1]);
}

static void fields_power_of_root(fields *a)
{
    field8 base, t, u, v;
    for (int half = 0; half < 2; half++) {
        __m256i limbs[5];
        for (int i = 0; i < 5; i++) {
            limbs[i] = _mm256_set_epi64x((long long)a->at[4 * half + 3][i], (long long)a->at[4 * half + 2][i],
                                         (long long)a->at[4 * half + 1][i], (long long)a->at[4 * half][i]);
        }
        field4_of_limbs51(&base.half[half], limbs);
    }
    t = base;
    square8(&t);             /* 2 */
    u = t;
    raise8(&u, 2, &base);    /* 9 */
    raise8(&t, 0, &u);       /* 11 */
    raise8(&t, 1, &u);       /* 2^5 - 1 */
    u = t;
    raise8(&t, 5, &u);       /* 2^10 - 1 */
    u = t;
    raise8(&u, 10, &t);      /* 2^20 - 1 */
    v = u;
    raise8(&v, 20, &u);      /* 2^40 - 1 */
    raise8(&v, 10, &t);      /* 2^50 - 1 */
    t = v;
    raise8(&t, 50, &v);      /* 2^100 - 1 */
    u = t;
    raise8(&u, 100, &t);     /* 2^200 - 1 */
    raise8(&u, 50, &v);      /* 2^250 - 1 */
    raise8(&u, 2, &base);    /* 2^252 - 3 */
    for (int half = 0; half < 2; half++) {
        __m256i limbs[5];
        field4_limbs51(limbs, &u.half[half]);
        for (int i = 0; i < 5; i++) {
            uint64_t lanes[4];
            _mm256_storeu_si256((__m256i *)(void *)lanes, limbs[i]);
            for (int lane = 0; lane < 4; lane++) {
                a->at[4 * half + lane][i] = lanes[lane];
            }
        }
    }
}

/* Four points as in ../group.h; coordinates are tight. */
typedef struct {
    field4 x, y, z, t;
} point4;

/* (y + x, y - x, 2dxy). */
typedef struct {
    field4 plus, minus, cross;
} affine4;

/* Gather what four buckets take at a step; those of the lanes in negative are negated but for their cross member. */
FIELD4_INLINE void load_step(affine4 *out, __m256i *negative, const sum_work *work, const uint32_t *const entries[4],
                             const uint32_t counts[4], uint32_t step)
{
    __m256i rows[16];
    field4 plus, minus;
    uint64_t signs[4];
    for (int lane = 0; lane < 4; lane++) {
        const uint32_t entry = step < counts[lane] ? entries[lane][step] : work->identity << 1;
        const uint64_t *words = work->points[entry >> 1];
        if (step + 1 < counts[lane]) {
            __builtin_prefetch(work->points[entries[lane][step + 1] >> 1]); /* it may lie anywhere: ask for it early */
            __builtin_prefetch(work->points[entries[lane][step + 1] >> 1] + 8);
        }
        signs[lane] = 0 - (uint64_t)(entry & 1);
        for (int part = 0; part < 4; part++) {
            rows[4 * part + lane] = _mm256_loadu_si256((const __m256i *)(const void *)(words + 4 * part));
        }
    }
    for (int part = 0; part < 4; part++) {
        transpose4(rows + 4 * part);
    }
    *negative = _mm256_loadu_si256((const __m256i *)(const void *)signs);
    field4_of_limbs51(&plus, rows);
    field4_of_limbs51(&minus, rows + 5);
    field4_choose(&out->plus, *negative, &plus, &minus);
    field4_choose(&out->minus, *negative, &minus, &plus);
    field4_of_limbs51(&out->cross, rows + 10);
}

/* sum = sum + b, in the lanes of negative sum - b. */
FIELD4_INLINE void add_affine4(point4 *sum, const affine4 *b, __m256i negative)
{
    field4 low, high, cross, twice, less, more, e, f, g, h;
    field4_subtract(&low, &sum->y, &sum->x);
    field4_multiply(&low, &low, &b->minus);
    field4_add(&high, &sum->y, &sum->x);
    field4_multiply(&high, &high, &b->plus);
    field4_multiply(&cross, &sum->t, &b->cross);
    field4_add(&twice, &sum->z, &sum->z);
    field4_subtract(&less, &twice, &cross);
    field4_add(&more, &twice, &cross);
    field4_subtract(&e, &high, &low);
    field4_add(&h, &high, &low);
    field4_choose(&f, negative, &less, &more);
    field4_choose(&g, negative, &more, &less);
    field4_multiply(&sum->x, &f, &e); /* what is of size 4 stands on the left */
    field4_multiply(&sum->y, &g, &h);
    field4_multiply(&sum->z, &less, &more);
    field4_multiply(&sum->t, &e, &h);
}

/* The point that an affine one is, times four in every coordinate so that nothing is halved. */
FIELD4_INLINE void point_from_affine4(point4 *out, const affine4 *a)
{
    field4 twice_x, twice_y, sum;
    field4_subtract(&twice_x, &a->plus, &a->minus);
    field4_add(&twice_y, &a->plus, &a->minus);
    field4_multiply(&out->t, &twice_x, &twice_y);
    field4_add(&sum, &twice_x, &twice_x);
    field4_carry(&out->x, sum.limb);
    field4_add(&sum, &twice_y, &twice_y);
    field4_carry(&out->y, sum.limb);
    for (int i = 0; i < 10; i++) {
        out->z.limb[i] = field4_constant(i == 0 ? 4 : 0);
    }
}

/* Write four buckets as points of ../group.h. */
FIELD4_INLINE void store_points4(const sum_work *work, const uint32_t buckets[4], const point4 *a)
{
    const field4 *const coordinates[4] = {&a->x, &a->y, &a->z, &a->t};
    __m256i rows[20];
    for (int i = 0; i < 4; i++) {
        field4_limbs51(rows + 5 * i, coordinates[i]);
    }
    for (int part = 0; part < 5; part++) {
        transpose4(rows + 4 * part);
        for (int lane = 0; lane < 4; lane++) {
            _mm256_storeu_si256((__m256i *)(void *)(work->buckets[buckets[lane]] + 4 * part), rows[4 * part + lane]);
        }
    }
}

static void fill16(const sum_work *work, const uint32_t buckets[16])
{
    for (int from = 0; from < 16; from += 4) {
        const uint32_t *entries[4];
        uint32_t counts[4], steps = 0;
        __m256i negative;
        for (int lane = 0; lane < 4; lane++) {
            const uint32_t bucket = buckets[from + lane];
            counts[lane] = work->counts[bucket];
            entries[lane] = work->entries + (work->starts[bucket] - counts[lane]);
            steps = counts[lane] > steps ? counts[lane] : steps;
        }
        if (steps == 0) {
            continue; /* nor are they read */
        }
        affine4 term;
        point4 sum;
        load_step(&term, &negative, work, entries, counts, 0);
        point_from_affine4(&sum, &term);
        for (uint32_t step = 1; step < steps; step++) {
            load_step(&term, &negative, work, entries, counts, step);
            add_affine4(&sum, &term, negative);
        }
        store_points4(work, buckets + from, &sum);
    }
}

static void hash8(uint64_t out[8][8], const uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX], size_t prefix_bytes,
                  const uint8_t *const messages[8], size_t message_bytes, size_t count)
{
    (void)count;
    cs_sha512_x4(out, prefixes, prefix_bytes, messages, message_bytes);
    cs_sha512_x4(out + 4, prefixes + 4, prefix_bytes, messages + 4, message_bytes);
}

const cs_ed25519_lanes cs_ed25519_lanes_avx2 = {
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

#pragma GCC pop_options

#endif

typedef int cs_ed25519_lanes4_is_not_empty; /* ISO C wants a declaration in every file */
