/* What a variant offers to the batch of batch.h, private to this folder: work on eight or sixteen items at a time and
 * sums over buckets. What is done with it (coefficients, merging of keys, halving) is the same for every variant.
 *
 * Arrays of sixteen or eight are always filled: what stands behind `count` repeats an item that is not behind it (and,
 * where it is written, leads to memory that nobody reads), so that vectors may be computed whole. */
#ifndef CS_ED25519_LANES_H
#define CS_ED25519_LANES_H

#include "ed25519/batch.h"
#include "ed25519/group.h"
#include "ed25519/scalar.h"
#include "sha2/sha512_x8.h"

enum {
    STORED_WORDS = 16,        /* an affine point in memory: cs_ed25519_affine and one word of padding */
    STORED_AFFINE_WORDS = 15, /* what is read of it */
    SUM_BUCKET_WORDS = 24,    /* a point as its variant likes it, four coordinates at most, and padding */
    SUM_WIDTH_MIN = 4,
    SUM_WIDTH_MAX = 10,
    SUM_WIDTHS = SUM_WIDTH_MAX - SUM_WIDTH_MIN + 1,
};

_Static_assert(sizeof(cs_ed25519_affine) == 8 * STORED_AFFINE_WORDS, "read as words");

/* The identity as a stored affine point. */
static const uint64_t STORED_IDENTITY[STORED_WORDS] = {1, 0, 0, 0, 0, 1};

typedef struct {
    uint64_t magnitude[2]; /* at most 2^127 */
    uint32_t point;        /* index in the points */
    uint32_t negative;     /* 0 or 1 */
} sum_term;

typedef struct {
    uint64_t (*points)[STORED_WORDS]; /* of these the one at `identity` is the identity */
    uint32_t identity;
    sum_term *terms;
    size_t term_count;
    uint32_t *entries;                     /* a term's point * 2 + its sign, in the order of their buckets */
    uint64_t (*buckets)[SUM_BUCKET_WORDS]; /* bucket (|digit| - 1) * lanes + place, here and below */
    uint32_t *counts, *starts, *order;     /* starts points behind a bucket's last entry */
    size_t lanes;                          /* places, rounded up to eights */
} sum_work;

/* One item to be decided for itself: everything is known but whether the equation holds. */
typedef struct {
    const cs_ed25519_key *key;
    const uint64_t *commitment;  /* R, stored affine */
    scalar challenge, response;  /* k and S, below L */
} single_item;

typedef struct {
    /* Read encodings of points and write each in stored affine form; returns a bit for each that is canonical and on
     * the curve (what is written for another means nothing). hints_out: NULL, or where the 32 bytes of x go. */
    uint32_t (*decode16)(uint64_t *const out[16], uint8_t *const *hints_out, const uint8_t *const encoded[16],
                         size_t count);
    /* The same where x is given, by anybody: a bit only where x is canonical and the x that decode16 would find. */
    uint32_t (*check16)(uint64_t *const out[16], const uint8_t *const encoded[16], const uint8_t *const hints[16],
                        size_t count);
    /* As cs_sha512_x8. */
    void (*hash8)(uint64_t out[8][8], const uint8_t prefixes[8][CS_SHA512_X8_PREFIX_BYTES_MAX], size_t prefix_bytes,
                  const uint8_t *const messages[8], size_t message_bytes, size_t count);
    /* A bit for each item of which [8]([S]B - [k]A - R) is the identity. */
    uint32_t (*verify8)(const single_item items[8], size_t count);
    /* Sum up the entries of sixteen buckets. */
    void (*fill16)(const sum_work *work, const uint32_t buckets[16]);
    /* out[i] = the sum over digits of [digit] of its bucket, for place first_place + i. */
    void (*weigh8)(point out[8], const sum_work *work, size_t digit_count, size_t first_place);

    /* Measured: widths from SUM_WIDTH_MIN on serve fewer terms than this; the last serves all others. */
    uint32_t width_terms[SUM_WIDTHS];
    size_t sum_cost;         /* what a sum costs however small, counted in items */
    size_t leaf_items;       /* a part this small is decided singly, which then costs no more than its sum */
    size_t singly_items_max; /* and so is a whole batch of this size, which can share less */
    size_t budget_factor;    /* sums over so many times the batch are tried, then what is open is decided singly */
} cs_ed25519_lanes;

extern const cs_ed25519_lanes cs_ed25519_lanes_portable;
#if defined(__x86_64__)
extern const cs_ed25519_lanes cs_ed25519_lanes_avx2, cs_ed25519_lanes_avx512ifma;
#endif

/* The most entries and buckets of any sum of at most so many terms. */
size_t cs_ed25519_sum_entries_max(const cs_ed25519_lanes *lanes, size_t term_count_max);
size_t cs_ed25519_sum_buckets_max(const cs_ed25519_lanes *lanes, size_t term_count_max);

/* out = the sum over terms of [(-1)^negative magnitude] of its point: Pippenger's method. Coefficients are cut into
 * signed digits; for each place the points of one digit meet in one bucket, and the buckets of a place are summed with
 * their weights. Buckets of nearly one size are filled together, so that lanes hardly wait for each other. */
void cs_ed25519_sum_terms(point *out, const cs_ed25519_lanes *lanes, sum_work *work);

#if defined(__x86_64__)
/* Sign in lanes: as cs_ed25519_sign_batch. */
void cs_ed25519_sign_batch_avx512ifma(const cs_ed25519_signing_item *items, size_t count, size_t message_bytes);
#endif

/* Return 1 when [8]([S]B - [k]A - R) is the identity; in reference.c. */
int cs_ed25519_equation_holds(const single_item *item);

#endif
