/* The accounts of one shard: an append-only array in order of registration, found by id, with its Merkle tree.
 *
 * Leaf hashes are brought up to date when a root or a path is asked for, so an account that changes many times in a
 * block is hashed once.
 */
#ifndef CS_APPLY_ACCOUNTS_H
#define CS_APPLY_ACCOUNTS_H

#include "apply/table.h"
#include "merkle/tree.h"

typedef struct {
    cs_account *items;
    uint64_t count, capacity;
    cs_table table;
    cs_seed seed;
    cs_tree tree;
    uint32_t *dirty; /* accounts changed since the tree was brought up to date, each once */
    uint64_t dirty_count, dirty_capacity;
    uint64_t *marks; /* one bit an account: it is in dirty */
    uint64_t marks_capacity;
} cs_accounts;

int cs_accounts_init(cs_accounts *accounts, uint32_t suite, cs_seed seed);
void cs_accounts_free(cs_accounts *accounts);
int cs_accounts_reserve(cs_accounts *accounts, uint64_t more);
/* Register an account whose id is not registered; returns its index. Room must have been reserved. */
uint32_t cs_accounts_append(cs_accounts *accounts, const cs_account *account);
void cs_accounts_flush(cs_accounts *accounts);
uint64_t cs_accounts_bytes(const cs_accounts *accounts);

static inline uint32_t cs_accounts_hash(const cs_accounts *accounts, cs_u128 id) {
    return cs_mix_end(cs_mix_u128(0, accounts->seed, id), accounts->seed);
}

/* The index of the account, or CS_NONE. */
static inline uint32_t cs_accounts_find(const cs_accounts *accounts, cs_u128 id) {
    uint32_t hash = cs_accounts_hash(accounts, id), index;
    uint64_t cursor = cs_table_start(&accounts->table, hash);
    do {
        index = cs_table_next(&accounts->table, hash, &cursor);
    } while (index != CS_NONE && accounts->items[index].id != id);
    return index;
}

/* The account, about to be changed. */
static inline cs_account *cs_accounts_touch(cs_accounts *accounts, uint32_t index) {
    uint64_t bit = (uint64_t)1 << (index & 63);
    if ((accounts->marks[index >> 6] & bit) == 0) {
        accounts->marks[index >> 6] |= bit;
        accounts->dirty[accounts->dirty_count++] = index;
    }
    return &accounts->items[index];
}

#endif
