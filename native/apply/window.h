/* The id window: what was decided under (authoriser, debit account, id), until its time bucket is dropped.
 *
 * Entries lie in a slab; each bucket threads its entries in the order in which they were made (LEDGER-13).
 */
#ifndef CS_APPLY_WINDOW_H
#define CS_APPLY_WINDOW_H

#include "apply/chain.h"

typedef struct {
    cs_u128 authoriser;
    cs_record record;
    uint8_t digest[32];
    uint64_t time;
    uint32_t next; /* in its bucket, or among the free ones; 0 in a checkpoint */
    uint16_t code;
    uint16_t zero;
} cs_entry;
_Static_assert(sizeof(cs_entry) == 224, "id entry");

typedef struct {
    cs_entry *items;
    uint64_t capacity, count;
    uint32_t used, free_first;
    cs_table table;
    cs_buckets buckets;
    cs_chain chain;
    cs_seed seed;
} cs_window;

/* Where an entry went, so that a run can take it back. */
typedef struct {
    uint32_t entry, bucket, before; /* before: the bucket's last entry until then */
} cs_window_place;

int cs_window_init(cs_window *window, cs_seed seed);
void cs_window_free(cs_window *window);
int cs_window_reserve(cs_window *window, uint64_t entries, uint64_t buckets);
uint32_t cs_window_find(const cs_window *window, cs_u128 authoriser, cs_u128 debit_account, cs_u128 id);
/* Copy an entry in; its key is not in the window and room was reserved. */
cs_window_place cs_window_add(cs_window *window, const cs_entry *entry, uint64_t bucket_number);
/* As cs_window_add, but without chaining the bucket's digest: for loading. */
cs_window_place cs_window_restore(cs_window *window, const cs_entry *entry, uint64_t bucket_number);
/* Take back the entry added last; the caller truncates the chain first. */
void cs_window_undo(cs_window *window, cs_window_place place);
/* Drop all buckets below this number. */
void cs_window_drop(cs_window *window, uint64_t bucket_number);
uint64_t cs_window_bytes(const cs_window *window);

static inline uint32_t cs_window_hash(const cs_window *window, cs_u128 authoriser, cs_u128 debit_account, cs_u128 id) {
    uint64_t state = cs_mix_u128(0, window->seed, id);
    state = cs_mix_u128(state, window->seed, debit_account);
    return cs_mix_end(cs_mix_u128(state, window->seed, authoriser), window->seed);
}

#endif
