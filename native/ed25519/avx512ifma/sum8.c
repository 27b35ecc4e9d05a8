#if defined(__x86_64__)

#include "ed25519/avx512ifma/sum8.h"

__extension__ typedef unsigned __int128 wide_word;

enum { SIZES = 1024 /* buckets of this size and above are not told apart when they are ordered */ };

/* Places of a width: digits reach from -2^(w - 1) to 2^(w - 1), and the last holds what is left of 2^127. */
static inline size_t places_of(int width) { return (128 + (size_t)width - 1) / (size_t)width; }

static inline size_t lanes_of(int width) { return (places_of(width) + 7) & ~(size_t)7; }

static inline size_t digits_of(int width) { return (size_t)1 << (width - 1); }

/* Widths from SUM_WIDTH_MIN on serve fewer terms than this, as measured; the last of the table serves all others. */
static const uint32_t WIDTH_TERMS[] = {100, 300, 900, 1500, 6000, 6000, UINT32_MAX};

_Static_assert(sizeof WIDTH_TERMS / sizeof WIDTH_TERMS[0] == SUM_WIDTH_MAX - SUM_WIDTH_MIN + 1, "one for each width");

static inline int width_for(size_t term_count)
{
    int width = SUM_WIDTH_MIN;
    while (term_count >= WIDTH_TERMS[width - SUM_WIDTH_MIN]) {
        width++;
    }
    return width;
}

size_t cs_ed25519_sum_entries_max(size_t term_count_max)
{
    size_t most = 0;
    for (int width = SUM_WIDTH_MIN; width <= width_for(term_count_max); width++) {
        const size_t terms_max = WIDTH_TERMS[width - SUM_WIDTH_MIN] - 1;
        const size_t entries = (terms_max < term_count_max ? terms_max : term_count_max) * places_of(width);
        most = entries > most ? entries : most;
    }
    return most;
}

size_t cs_ed25519_sum_buckets_max(size_t term_count_max)
{
    size_t most = 0;
    for (int width = SUM_WIDTH_MIN; width <= width_for(term_count_max); width++) {
        const size_t buckets = lanes_of(width) * digits_of(width);
        most = buckets > most ? buckets : most;
    }
    return most;
}

/* Run body with place and digit for each place of a coefficient; width is constant where this is expanded. Adding half
 * the base at every place but the last turns digits from 0 on into signed ones. */
#define FOR_EACH_DIGIT(width, magnitude, place, digit, body)                                                   \
    do {                                                                                                       \
        const size_t places = (128 + (width) - 1) / (width);                                                   \
        const int64_t half = INT64_C(1) << ((width) - 1);                                                      \
        wide_word offset = 0;                                                                                  \
        for (size_t place = 0; place + 1 < places; place++) {                                                  \
            offset |= (wide_word)half << ((width) * place);                                                    \
        }                                                                                                      \
        const wide_word shifted = ((wide_word)(magnitude)[1] << 64 | (magnitude)[0]) + offset;                 \
        _Pragma("GCC unroll 32") for (size_t place = 0; place < places; place++)                               \
        {                                                                                                      \
            const uint64_t bits = (uint64_t)(shifted >> ((width) * place));                                    \
            const int64_t digit = place + 1 < places ? (int64_t)(bits & (uint64_t)(2 * half - 1)) - half       \
                                                     : (int64_t)bits;                                          \
            body                                                                                               \
        }                                                                                                      \
    } while (0)

/* counts[bucket] = its entries; bucket = (|digit| - 1) * lanes + place. */
FIELD8_INLINE void count_entries(const sum_work *work, const size_t width)
{
    const size_t lanes = lanes_of((int)width);
    for (size_t i = 0; i < work->term_count; i++) {
        FOR_EACH_DIGIT(width, work->terms[i].magnitude, place, digit, {
            const int64_t sign = digit >> 63;
            const size_t distance = (size_t)((digit ^ sign) - sign);
            if (distance != 0) {
                work->counts[(distance - 1) * lanes + place]++;
            }
        });
    }
}

/* Write each entry, point * 2 + its sign, where starts says; starts then points behind each bucket's last. */
FIELD8_INLINE void place_entries(const sum_work *work, const size_t width)
{
    const size_t lanes = lanes_of((int)width);
    for (size_t i = 0; i < work->term_count; i++) {
        const sum_term *term = &work->terms[i];
        FOR_EACH_DIGIT(width, term->magnitude, place, digit, {
            const int64_t sign = digit >> 63;
            const size_t distance = (size_t)((digit ^ sign) - sign);
            if (distance != 0) {
                work->entries[work->starts[(distance - 1) * lanes + place]++] =
                    term->point << 1 | (term->negative ^ (uint32_t)(sign & 1));
            }
        });
    }
}

#define FOR_WIDTH(name, work, width) \
    switch (width) {                 \
    case 4:                          \
        name(work, 4);               \
        break;                       \
    case 5:                          \
        name(work, 5);               \
        break;                       \
    case 6:                          \
        name(work, 6);               \
        break;                       \
    case 7:                          \
        name(work, 7);               \
        break;                       \
    case 8:                          \
        name(work, 8);               \
        break;                       \
    case 9:                          \
        name(work, 9);               \
        break;                       \
    default:                         \
        name(work, 10);              \
        break;                       \
    }

/* Sort all entries by bucket, and the buckets by falling size. */
static void sort_entries(const sum_work *work, int width)
{
    const size_t bucket_count = lanes_of(width) * digits_of(width);
    uint32_t sizes[SIZES] = {0}, at = 0;
    memset(work->counts, 0, bucket_count * sizeof work->counts[0]);
    FOR_WIDTH(count_entries, work, width);
    for (size_t i = 0; i < bucket_count; i++) {
        work->starts[i] = at;
        at += work->counts[i];
        sizes[work->counts[i] < SIZES ? work->counts[i] : SIZES - 1]++;
    }
    FOR_WIDTH(place_entries, work, width);
    at = 0;
    for (size_t size = SIZES; size-- > 0;) {
        const uint32_t count = sizes[size];
        sizes[size] = at;
        at += count;
    }
    for (size_t i = 0; i < bucket_count; i++) {
        work->order[sizes[work->counts[i] < SIZES ? work->counts[i] : SIZES - 1]++] = (uint32_t)i;
    }
}

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

/* Fill sixteen buckets. */
static void fill_buckets(const sum_work *work, const uint32_t buckets[16])
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

/* out[lane] = the sum over digits of [digit] of its bucket, for eight places from first_place on. */
static void weigh_buckets(point out[8], const sum_work *work, int width, size_t first_place)
{
    const size_t lanes = lanes_of(width);
    const field8 twice_d = field8_broadcast(FIELD_2D);
    size_t digit = digits_of(width) - 1;
    const uint64_t *words[8];
    for (int lane = 0; lane < 8; lane++) {
        words[lane] = work->points[work->identity];
    }
    const affine8 nothing = affine8_load(words, 0);
    point8 running = point8_from_affine(&nothing), total = running;
    do {
        const point8 bucket =
            point8_load_prepared((const uint64_t(*)[SUM_BUCKET_WORDS])work->buckets + digit * lanes + first_place);
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

void cs_ed25519_sum_terms(point *out, const sum_work *work)
{
    const int width = width_for(work->term_count);
    const size_t lanes = lanes_of(width), bucket_count = lanes * digits_of(width);
    point sums[40];
    completed next;
    sort_entries(work, width);
    for (size_t i = 0; i < bucket_count; i += 16) {
        fill_buckets(work, work->order + i);
    }
    for (size_t place = 0; place < lanes; place += 8) {
        weigh_buckets(sums + place, work, width, place);
    }
    size_t place = places_of(width) - 1;
    *out = sums[place];
    while (place-- > 0) {
        for (int i = 1; i < width; i++) {
            point_double(&next, out);
            completed_to_projective(out, &next);
        }
        point_double(&next, out);
        completed_to_extended(out, &next);
        point_add(&next, out, &sums[place]);
        completed_to_extended(out, &next);
    }
}

#pragma GCC pop_options

#endif

typedef int cs_ed25519_sum8_is_not_empty; /* ISO C wants a declaration in every file */
