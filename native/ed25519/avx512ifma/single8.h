/* Eight signatures decided each for itself, one in each lane, private to this folder. */
#ifndef CS_ED25519_SINGLE8_H
#define CS_ED25519_SINGLE8_H

#include "ed25519/avx512ifma/group8.h"
#include "ed25519/scalar.h"

typedef struct {
    const cs_ed25519_key *key;
    const uint64_t *commitment; /* R as decode16 wrote it */
    scalar response, challenge; /* S and k, both below L */
} single_item;

/* The lanes whose item satisfies [8]([S]B - [k]A - R) = 0. */
uint32_t cs_ed25519_single_verify8(const single_item items[8]);

#endif
