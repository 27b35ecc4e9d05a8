/* A batch of signatures of any suites: its columns are cut into parts, the items of one suite in a part are gathered
 * into runs for that suite's kernel, and verdicts and hints are put back where they belong.
 *
 * Nothing here allocates, and no verdict depends on how a batch is cut. */
#ifndef CS_SUITES_VERIFY_H
#define CS_SUITES_VERIFY_H

#include "suites/keys.h"

enum {
    CS_INDEX_BYTES = 4,
    CS_THREADS_MAX = 64,
    CS_PART_ITEMS_MIN = 256, /* below this a thread costs more than it brings */
};

/* The columns, whose lengths the caller has checked; none needs alignment. */
typedef struct {
    const cs_slots *keys;
    const uint8_t *indexes; /* u32 each, in the machine's byte order; 0 is no key */
    const uint8_t *signatures, *messages;
    const uint8_t *hints; /* or NULL */
    uint8_t *verdicts;
    uint8_t *hints_out; /* or NULL */
    size_t count, stride;
    const void *const *tables; /* NULL, or for each item NULL or its key's table */

    /* Filled by cs_survey. */
    size_t suite_counts[CS_SUITES_END]; /* [0]: items without a key */
    /* Filled by cs_plan. */
    size_t part_items, part_count, run_items_max, seeds_per_part, work_bytes;
} cs_columns;

static inline uint32_t cs_index_at(const uint8_t *indexes, size_t at)
{
    uint32_t index; /* copied, because the column need not be aligned */
    __builtin_memcpy(&index, indexes + CS_INDEX_BYTES * at, sizeof index);
    return index;
}

/* The key of an item, NULL for "no key". */
static inline cs_key *cs_key_of(const cs_columns *columns, size_t at)
{
    const uint32_t index = cs_index_at(columns->indexes, at);
    return index == 0 ? NULL : (cs_key *)cs_slot_at(columns->keys, index - 1);
}

/* Whether an item brings a hint: one that is all zero is none. */
static inline int cs_has_hint(const cs_columns *columns, size_t at)
{
    static const uint8_t none[CS_HINT_BYTES] = {0};
    return columns->hints != NULL && __builtin_memcmp(columns->hints + CS_HINT_BYTES * at, none, sizeof none) != 0;
}

/* The first index of a column that is not below bound, or count. */
size_t cs_first_unknown(const uint8_t *indexes, size_t count, uint64_t bound);

/* Count the items of each suite. */
void cs_survey(cs_columns *columns);

/* Cut the batch for at most so many threads and return how many of them are worth while: each needs work_bytes of
 * memory aligned to CS_MEMORY_ALIGNMENT, and all together seeds_per_part * part_count seeds. */
size_t cs_plan(cs_columns *columns, size_t threads);

/* Verify all parts and return how many items failed. work: thread_count pieces of memory. Of the threads, the caller is
 * one; where the system gives fewer, those that there are do the work. */
size_t cs_verify_columns(const cs_columns *columns, void *const *work, size_t thread_count, const uint8_t *seeds);

#endif
