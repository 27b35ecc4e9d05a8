/* b * G + a * A for many items at once, G the generator and A the key of the item, out of tables: see field8.h. For
 * public data only.
 *
 * A scalar is made odd (n less an even one, and the point negated) and written with odd digits, so that every digit of
 * every item is one stored point to add, never none. With a table of its key an item takes one addition for each digit
 * and no doubling; without one it takes the multiples that the key itself holds, and sixty doublings.
 *
 * The curve defines BASE8, an array of COMB8_BASE_ROWS rows of COMB8_BASE_POINTS stored points:
 * BASE8[i][j] = (2 j + 1) 2^(8 i) G, in the Montgomery form of field8.h, aligned to 64 bytes.
 */
#ifndef CS_WEIERSTRASS_COMB8_H
#define CS_WEIERSTRASS_COMB8_H

#include "weierstrass/avx512ifma/adder8.h"

enum {
    COMB8_BASE_BITS = 8,
    COMB8_BASE_ROWS = 32,
    COMB8_BASE_POINTS = 128,
    /* The table of a key: the same with digits of five bits, and one of six at the end. */
    COMB8_KEY_BITS = 5,
    COMB8_KEY_ROWS = 51,
    COMB8_KEY_POINTS = 16,
    COMB8_TABLE_POINTS = (COMB8_KEY_ROWS + 1) * COMB8_KEY_POINTS,
    COMB8_TABLE_BYTES = 64 * COMB8_TABLE_POINTS,
    /* Digits of four bits fit the multiples that a key holds. */
    COMB8_CHUNK_BITS = 4,
    COMB8_CHUNK_DIGITS = 16,
    COMB8_CHUNK_TERMS = CS_KEY_CHUNKS * COMB8_CHUNK_DIGITS,
    COMB8_VECTORS_MAX = 256, /* in one go: what they work in stays in the second cache */
    COMB8_SUMS_MAX = 16,     /* of one item, side by side where items are few */
};

_Static_assert(256 - COMB8_KEY_BITS * (COMB8_KEY_ROWS - 1) == 6, "the last digit has six bits");
_Static_assert(1 << (COMB8_CHUNK_BITS - 1) == CS_KEY_MULTIPLES, "a multiple for each odd digit");

/* Scalars below n: of the generator and of the key, the lowest limb first. */
typedef struct {
    uint64_t base[4], key[4];
} comb8_scalars;

_Static_assert(sizeof(comb8_scalars) == 64, "read as one vector");

/* Eight pairs of scalars, made odd. */
typedef struct {
    __m512i base[4], key[4];
    __mmask8 base_negative, key_negative;
} comb8_numbers;

/* What an item multiplies: its table, or where there are none its cs_weierstrass_point[CS_KEY_CHUNKS][…]. */
typedef struct {
    const cs_weierstrass_point *points[8];
} comb8_keys;

typedef struct {
    size_t vectors; /* of items */
    size_t sums_each; /* sums side by side, a power of two: vectors times this is at most COMB8_VECTORS_MAX */
    comb8_numbers numbers[COMB8_VECTORS_MAX];
    comb8_keys keys[COMB8_VECTORS_MAX];
    point8 sums[COMB8_VECTORS_MAX];
    field8 differences[COMB8_VECTORS_MAX], products[COMB8_VECTORS_MAX];
    const cs_weierstrass_point *stored[2][COMB8_VECTORS_MAX][8];
    __mmask8 negatives[2][COMB8_VECTORS_MAX], lost[COMB8_VECTORS_MAX], skipped[COMB8_VECTORS_MAX];
} comb8;

/* words = n - words in the lanes where they are even, which are returned. */
LANES_INLINE __mmask8 comb8_make_odd(__m512i words[4])
{
    const __mmask8 even = _mm512_testn_epi64_mask(words[0], lanes_of(1));
    __mmask8 borrow = 0;
    for (int i = 0; i < 4; i++) {
        const __m512i n = lanes_of(ORDER[i]);
        const __m512i less = _mm512_mask_sub_epi64(words[i], 0xff, n, words[i]);
        const __m512i out = _mm512_mask_sub_epi64(less, borrow, less, lanes_of(1));
        borrow = (__mmask8)(_mm512_cmplt_epu64_mask(n, words[i]) |
                            (borrow & _mm512_testn_epi64_mask(less, less)));
        words[i] = _mm512_mask_mov_epi64(words[i], even, out);
    }
    return even;
}

/* Take the scalars and the keys of eight items as vector i. */
LANES_INLINE void comb8_load(comb8 *work, size_t i, const comb8_scalars *const scalars[8],
                             const cs_weierstrass_point *const keys[8])
{
    comb8_numbers *numbers = &work->numbers[i];
    __m512i rows[8];
    for (int lane = 0; lane < 8; lane++) {
        rows[lane] = _mm512_loadu_si512(scalars[lane]);
        work->keys[i].points[lane] = keys[lane];
    }
    cs_transpose8(rows);
    memcpy(numbers->base, rows, sizeof numbers->base);
    memcpy(numbers->key, rows + 4, sizeof numbers->key);
    numbers->base_negative = comb8_make_odd(numbers->base);
    numbers->key_negative = comb8_make_odd(numbers->key);
}

/* The digit of odd numbers for their bits from `at` on, `bits` of them, which reach bit 256 only for the last digit:
 * odd and below 2^bits in magnitude. Returns the index of the magnitude among the odd ones, and the lanes in which it
 * is negative. A digit is its bits one place higher, doubled, plus 1, less the 2^bits that the next digit's 1 stands
 * for; the last has no next. */
LANES_INLINE __m512i comb8_digit(__mmask8 *negative, const __m512i words[4], int at, int bits)
{
    const int from = at + 1, word = from / 64, shift = from % 64;
    const int last = at + bits == 256;
    __m512i window = _mm512_setzero_si512();
    if (word < 4) {
        window = _mm512_srl_epi64(words[word], _mm_cvtsi32_si128(shift));
        if (shift + bits > 64 && word < 3) {
            window = _mm512_or_si512(window, _mm512_sll_epi64(words[word + 1], _mm_cvtsi32_si128(64 - shift)));
        }
    }
    const __m512i mask = lanes_of((UINT64_C(1) << (bits - 1)) - 1);
    *negative = last ? 0 : _mm512_testn_epi64_mask(window, lanes_of(UINT64_C(1) << (bits - 1)));
    window = _mm512_mask_xor_epi64(window, *negative, window, mask);
    return _mm512_and_si512(window, mask);
}

/* Name one stored point for each item: slots from first on, one for each vector. */
typedef struct {
    const cs_weierstrass_point *(*stored)[8];
    __mmask8 *negatives;
} comb8_slots;

LANES_INLINE void comb8_name_base(const comb8 *work, comb8_slots out, int row)
{
    const __m512i first = lanes_of((uint64_t)(uintptr_t)&BASE8[row][0]);
    for (size_t i = 0; i < work->vectors; i++) {
        __mmask8 negative;
        const __m512i index =
            comb8_digit(&negative, work->numbers[i].base, COMB8_BASE_BITS * row, COMB8_BASE_BITS);
        _mm512_storeu_si512(out.stored[i], _mm512_add_epi64(first, _mm512_slli_epi64(index, 6)));
        out.negatives[i] = negative ^ work->numbers[i].base_negative;
    }
}

/* Of the key: the digit at `at`, among the points of its table from `first` on. */
LANES_INLINE void comb8_name_key(const comb8 *work, comb8_slots out, int first, int at, int bits)
{
    for (size_t i = 0; i < work->vectors; i++) {
        __mmask8 negative;
        const __m512i index = comb8_digit(&negative, work->numbers[i].key, at, bits);
        const __m512i row = _mm512_add_epi64(_mm512_loadu_si512(work->keys[i].points), lanes_of(64 * (uint64_t)first));
        _mm512_storeu_si512(out.stored[i], _mm512_add_epi64(row, _mm512_slli_epi64(index, 6)));
        out.negatives[i] = negative ^ work->numbers[i].key_negative;
    }
}

/* Name the points of one term of every item: first those of the key's table, then those of the generator's. */
static inline void comb8_name_term(const comb8 *work, comb8_slots out, int term)
{
    if (term < COMB8_KEY_ROWS - 1) {
        comb8_name_key(work, out, COMB8_KEY_POINTS * term, COMB8_KEY_BITS * term, COMB8_KEY_BITS);
    } else if (term == COMB8_KEY_ROWS - 1) {
        const int at = COMB8_KEY_BITS * term;
        comb8_name_key(work, out, COMB8_KEY_POINTS * term, at, 256 - at);
    } else {
        comb8_name_base(work, out, term - COMB8_KEY_ROWS);
    }
}

static inline comb8_slots comb8_slots_at(comb8 *work, int buffer, size_t first)
{
    return (comb8_slots){work->stored[buffer] + first, work->negatives[buffer] + first};
}

static inline add_step comb8_step(comb8 *work, int buffer, size_t count)
{
    return (add_step){
        .sums = work->sums,
        .count = count,
        .stored = (const cs_weierstrass_point *const(*)[8])work->stored[buffer],
        .negatives = work->negatives[buffer],
        .lost = work->lost,
        .differences = work->differences,
        .products = work->products,
        .skipped = work->skipped,
    };
}

/* sums[i] = the stored point that is named for it. */
static inline void comb8_begin(comb8 *work, size_t count, int of_scalar)
{
    for (size_t i = 0; i < count; i++) {
        const cs_weierstrass_point *const *points = (const cs_weierstrass_point *const *)work->stored[0][i];
        point8 point = {field8_gather_x(points), field8_gather_y(points)};
        if (of_scalar) {
            const field8 reenter = field8_broadcast(FIELD8_REENTER);
            point.x = field8_multiply(&point.x, &reenter);
            point.y = field8_multiply(&point.y, &reenter);
        }
        work->sums[i].x = point.x;
        work->sums[i].y = field8_negate(&point.y, work->negatives[0][i]);
        work->lost[i] = 0;
    }
}

/* sums[i] = the sum of vector i, for items whose keys have tables; lost[i] has the lanes for which it means nothing. */
LANES_ONE_COPY void comb8_sum_tables(comb8 *work)
{
    const int terms = COMB8_KEY_ROWS + COMB8_BASE_ROWS, each = (int)work->sums_each;
    const size_t vectors = work->vectors;
    int buffer = 0;
    for (int k = 0; k < each; k++) {
        comb8_name_term(work, comb8_slots_at(work, 0, (size_t)k * vectors), k);
    }
    comb8_begin(work, (size_t)each * vectors, 0);
    for (int k = 0; k < each; k++) {
        comb8_name_term(work, comb8_slots_at(work, 0, (size_t)k * vectors), each + k);
    }
    for (int term = each; term < terms; term += each, buffer ^= 1) {
        const int here = term + each < terms ? each : terms - term;
        const int next = term + each;
        add_step step = comb8_step(work, buffer, (size_t)here * vectors);
        for (int k = 0; k < each && next + k < terms; k++) {
            comb8_name_term(work, comb8_slots_at(work, buffer ^ 1, (size_t)k * vectors), next + k);
        }
        if (next + each <= terms) {
            step.next = (const cs_weierstrass_point *const(*)[8])work->stored[buffer ^ 1];
        }
        adder8_add_stored(&step);
    }
    for (size_t half = work->sums_each / 2; half > 0; half /= 2) {
        add_step step = comb8_step(work, 0, half * vectors);
        step.points = work->sums + half * vectors;
        adder8_add_points(&step);
        for (size_t i = 0; i < half * vectors; i++) {
            work->lost[i] |= work->lost[i + half * vectors];
        }
    }
}

/* Name the points of one term of every item without tables: the chunks of the key, highest digits first, and then the
 * points of the generator's table. */
static inline void comb8_name_chunk(const comb8 *work, comb8_slots out, int term)
{
    if (term < COMB8_CHUNK_TERMS) {
        const int digit = COMB8_CHUNK_DIGITS - 1 - term / CS_KEY_CHUNKS, chunk = term % CS_KEY_CHUNKS;
        comb8_name_key(work, out, CS_KEY_MULTIPLES * chunk, 64 * chunk + COMB8_CHUNK_BITS * digit, COMB8_CHUNK_BITS);
    } else {
        comb8_name_base(work, out, term - COMB8_CHUNK_TERMS);
    }
}

/* The same for items whose keys have no tables. */
LANES_ONE_COPY void comb8_sum_keys(comb8 *work)
{
    const int terms = COMB8_CHUNK_TERMS + COMB8_BASE_ROWS;
    const size_t vectors = work->vectors;
    int buffer = 0;
    comb8_name_chunk(work, comb8_slots_at(work, 0, 0), 0);
    comb8_begin(work, vectors, 1);
    comb8_name_chunk(work, comb8_slots_at(work, 0, 0), 1);
    for (int term = 1; term < terms; term++, buffer ^= 1) {
        add_step step = comb8_step(work, buffer, vectors);
        for (int i = 0; i < COMB8_CHUNK_BITS && term < COMB8_CHUNK_TERMS && term % CS_KEY_CHUNKS == 0; i++) {
            adder8_double(&step);
        }
        if (term + 1 < terms) {
            comb8_name_chunk(work, comb8_slots_at(work, buffer ^ 1, 0), term + 1);
            step.next = (const cs_weierstrass_point *const(*)[8])work->stored[buffer ^ 1];
        }
        if (term < COMB8_CHUNK_TERMS) {
            adder8_add_scalar(&step);
        } else {
            adder8_add_stored(&step);
        }
    }
}

/* How many sums each of so many vectors has side by side. */
static inline size_t comb8_sums_each(size_t vectors)
{
    size_t each = 1;
    while (each < COMB8_SUMS_MAX && 2 * each * vectors <= COMB8_VECTORS_MAX) {
        each *= 2;
    }
    return each;
}

/* --- Making tables of keys, one in each lane. --- */

/* Sixteen points each: the rows of the table, and the second half of the last. */
enum { COMB8_HALF_ROWS = COMB8_KEY_ROWS + 1 };

typedef struct {
    projective8 starts[COMB8_HALF_ROWS];
    point8 sums[COMB8_HALF_ROWS], steps[COMB8_HALF_ROWS];
    field8 differences[COMB8_HALF_ROWS], products[COMB8_HALF_ROWS];
    __mmask8 lost[COMB8_HALF_ROWS], skipped[COMB8_HALF_ROWS];
} comb8_building;

/* starts[row] = the first point of its row: 2^(5 row) A, and 33 times that of the last row. */
static inline void comb8_start_rows(comb8_building *work, const point8 *key)
{
    projective8 running = {key->x, key->y, field8_broadcast(FIELD8_ONE)};
    for (int row = 0; row < COMB8_KEY_ROWS; row++) {
        work->starts[row] = running;
        for (int i = 0; i < COMB8_KEY_BITS; i++) {
            projective8_add(&running, &running, &running);
        }
    }
    projective8_add(&work->starts[COMB8_KEY_ROWS], &running, &work->starts[COMB8_KEY_ROWS - 1]);
}

/* sums = starts, affine: none is infinity. */
static inline void comb8_divide_starts(comb8_building *work)
{
    const field8 one = field8_broadcast(FIELD8_ONE);
    field8 chains[CHAINS] = {one, one, one, one};
    for (int row = 0; row < COMB8_HALF_ROWS; row++) {
        work->products[row] = chains[0];
        chains[0] = field8_multiply(&chains[0], &work->starts[row].z);
    }
    (void)adder8_invert(chains);
    for (int row = COMB8_HALF_ROWS; row-- > 0;) {
        const field8 inverse = field8_multiply(&chains[0], &work->products[row]);
        chains[0] = field8_multiply(&chains[0], &work->starts[row].z);
        work->sums[row].x = field8_multiply(&work->starts[row].x, &inverse);
        work->sums[row].y = field8_multiply(&work->starts[row].y, &inverse);
    }
}

static inline void comb8_store(cs_weierstrass_point *const tables[8], int index, const point8 *point)
{
    cs_weierstrass_point *targets[8];
    for (int lane = 0; lane < 8; lane++) {
        targets[lane] = tables[lane] + index;
    }
    const point8 canonical = {field8_canonical(point->x), field8_canonical(point->y)};
    point8_scatter(targets, &canonical);
}

/* tables[lane] = the table of the key whose multiples (in the form of the scalar code) begin with keys[lane]. Nothing
 * is lost: the order is prime and large, so that small odd multiples of one point never meet. */
LANES_ONE_COPY void comb8_build_tables(cs_weierstrass_point *const tables[8], const cs_weierstrass_point *const keys[8])
{
    const field8 reenter = field8_broadcast(FIELD8_REENTER);
    point8 key = {field8_gather_x(keys), field8_gather_y(keys)};
    comb8_building work;
    key.x = field8_multiply(&key.x, &reenter);
    key.y = field8_multiply(&key.y, &reenter);
    comb8_start_rows(&work, &key);
    comb8_divide_starts(&work);
    memcpy(work.steps, work.sums, sizeof work.steps);
    memset(work.lost, 0, sizeof work.lost);
    add_step step = {
        .sums = work.steps,
        .count = COMB8_KEY_ROWS,
        .lost = work.lost,
        .differences = work.differences,
        .products = work.products,
        .skipped = work.skipped,
    };
    adder8_double(&step);
    work.steps[COMB8_KEY_ROWS] = work.steps[COMB8_KEY_ROWS - 1];
    step.sums = work.sums;
    step.count = COMB8_HALF_ROWS;
    step.points = work.steps;
    for (int multiple = 0; multiple < COMB8_KEY_POINTS; multiple++) {
        if (multiple > 0) {
            adder8_add_points(&step);
        }
        for (int row = 0; row < COMB8_HALF_ROWS; row++) {
            comb8_store(tables, COMB8_KEY_POINTS * row + multiple, &work.sums[row]);
        }
    }
}

#endif
