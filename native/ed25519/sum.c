/* Sums of many points times 128-bit coefficients, but for the points themselves: digits, buckets and their order. */
#include "ed25519/lanes.h"

__extension__ typedef unsigned __int128 wide_word;

enum {
    SIZES = 1024,    /* buckets of this size and above are not told apart when they are ordered */
    PLACES_MAX = 32, /* those of SUM_WIDTH_MIN */
};

/* Places of a width: digits reach from -2^(w - 1) to 2^(w - 1), and the last holds what is left of 2^127. */
static inline size_t places_of(int width) { return (128 + (size_t)width - 1) / (size_t)width; }

static inline size_t lanes_of(int width) { return (places_of(width) + 7) & ~(size_t)7; }

static inline size_t digits_of(int width) { return (size_t)1 << (width - 1); }

static inline int width_for(const cs_ed25519_lanes *lanes, size_t term_count)
{
    int width = SUM_WIDTH_MIN;
    while (width < SUM_WIDTH_MAX && term_count >= lanes->width_terms[width - SUM_WIDTH_MIN]) {
        width++;
    }
    return width;
}

size_t cs_ed25519_sum_entries_max(const cs_ed25519_lanes *lanes, size_t term_count_max)
{
    size_t most = 0;
    for (int width = SUM_WIDTH_MIN; width <= width_for(lanes, term_count_max); width++) {
        const size_t terms_max = lanes->width_terms[width - SUM_WIDTH_MIN] - 1;
        const size_t entries = (terms_max < term_count_max ? terms_max : term_count_max) * places_of(width);
        most = entries > most ? entries : most;
    }
    return most;
}

size_t cs_ed25519_sum_buckets_max(const cs_ed25519_lanes *lanes, size_t term_count_max)
{
    size_t most = 0;
    for (int width = SUM_WIDTH_MIN; width <= width_for(lanes, term_count_max); width++) {
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
static inline __attribute__((always_inline)) void count_entries(const sum_work *work, const size_t width)
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
static inline __attribute__((always_inline)) void place_entries(const sum_work *work, const size_t width)
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

void cs_ed25519_sum_terms(point *out, const cs_ed25519_lanes *lanes, sum_work *work)
{
    const int width = width_for(lanes, work->term_count);
    const size_t bucket_count = lanes_of(width) * digits_of(width);
    point sums[PLACES_MAX];
    completed next;
    work->lanes = lanes_of(width);
    sort_entries(work, width);
    for (size_t i = 0; i < bucket_count; i += 16) {
        lanes->fill16(work, work->order + i);
    }
    for (size_t place = 0; place < work->lanes; place += 8) {
        lanes->weigh8(sums + place, work, digits_of(width), place);
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
