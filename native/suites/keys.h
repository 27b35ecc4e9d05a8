/* Where registered keys lie: slots that never move, in chunks that double.
 *
 * A slot is filled before the count grows. So a thread without the GIL may read `loaded`, `suite` and `public_key` of
 * those below a count that it saw, while another thread adds; everything else of a slot is for holders of the GIL. */
#ifndef CS_SUITES_KEYS_H
#define CS_SUITES_KEYS_H

#include "suites/suites.h"

enum {
    CS_CHUNK_FIRST_SLOTS = 64, /* chunk c holds 64 << c slots: 25 chunks hold 2^31 - 64 of them */
    CS_CHUNKS_MAX = 25,
};

typedef struct cs_key {
    void *loaded; /* what key_load made of public_key */
    uint32_t suite;
    uint8_t public_key[CS_PUBLIC_KEY_BYTES_MAX];

    uint8_t revoked;
    uint8_t built;        /* whether the table is filled: until then it belongs to the batch that fills it */
    uint32_t uses;        /* items without a table since this key last had one */
    uint32_t pins;        /* batches that read the table or fill it */
    uint64_t batch;       /* the last one that looked at this key */
    void *table;          /* NULL, or the key stands in the list of those that have one */
    struct cs_key *newer, *older;
} cs_key;

typedef struct {
    uint64_t count;
    size_t slot_bytes;
    uint8_t *chunks[CS_CHUNKS_MAX];
} cs_slots;

/* The chunk that a slot lies in; *index becomes its place there, *chunk_slots how many that chunk holds. */
static inline int cs_chunk_of(uint64_t *index, uint64_t *chunk_slots)
{
    int chunk = 0;
    *chunk_slots = CS_CHUNK_FIRST_SLOTS;
    while (*index >= *chunk_slots) {
        *index -= *chunk_slots;
        *chunk_slots <<= 1;
        chunk++;
    }
    return chunk;
}

static inline void *cs_slot_at(const cs_slots *slots, uint64_t index)
{
    uint64_t chunk_slots;
    const int chunk = cs_chunk_of(&index, &chunk_slots);
    return slots->chunks[chunk] + index * slots->slot_bytes;
}

#endif
