/* The sum of many points times 128-bit coefficients, private to this folder.
 *
 * Pippenger's method: coefficients are cut into signed digits; for each place the points of one digit meet in one
 * bucket, and the buckets of a place are summed with their weights. Sixteen buckets of nearly one size are filled at a
 * time, one in each lane of two vectors, so lanes hardly wait for each other and never meet. */
#ifndef CS_ED25519_SUM8_H
#define CS_ED25519_SUM8_H

#include "ed25519/avx512ifma/group8.h"

enum {
    SUM_WIDTH_MIN = 4,
    SUM_WIDTH_MAX = 10,
    SUM_BUCKET_WORDS = 24, /* four coordinates and padding to whole vectors */
};

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
    uint32_t *entries;                     /* cs_ed25519_sum_entries_max(term_count_max) */
    uint64_t (*buckets)[SUM_BUCKET_WORDS]; /* cs_ed25519_sum_buckets_max(term_count_max), like all that follow */
    uint32_t *counts, *starts, *order;
} sum_work;

/* Room for the entries and buckets of any sum of at most so many terms. */
size_t cs_ed25519_sum_entries_max(size_t term_count_max);
size_t cs_ed25519_sum_buckets_max(size_t term_count_max);

/* out = the sum over terms of [(-1)^negative magnitude] of its point. */
void cs_ed25519_sum_terms(point *out, const sum_work *work);

#endif
