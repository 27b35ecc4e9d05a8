/* What leaves a shard with a block: decision leaves in log order, and credit messages for its peers. */
#ifndef CS_APPLY_DECISIONS_H
#define CS_APPLY_DECISIONS_H

#include "apply/layout.h"

typedef struct {
    cs_decision *leaves;
    uint64_t count, capacity;
    uint8_t (*hashes)[32]; /* leaf hashes of the first `hashed` leaves */
    uint64_t hashed, hashes_capacity;
} cs_decisions;

typedef struct {
    cs_credit message;
    uint32_t peer; /* index among the peers */
    uint32_t zero[3];
} cs_outgoing_item;

typedef struct {
    cs_outgoing_item *items; /* in the order in which they were made */
    uint64_t count, capacity;
    uint64_t block_first; /* the first message of the current block */
    uint64_t taken;       /* messages that the caller has taken */
} cs_outgoing;

void cs_decisions_free(cs_decisions *decisions);
int cs_decisions_reserve(cs_decisions *decisions, uint64_t more);
void cs_decisions_add(cs_decisions *decisions, const uint8_t digest[32], uint64_t time, uint16_t code);
/* Undo all but the first `count`. */
void cs_decisions_truncate(cs_decisions *decisions, uint64_t count);
void cs_decisions_root(cs_decisions *decisions, uint32_t suite, uint8_t out[32]);

void cs_outgoing_free(cs_outgoing *outgoing);
int cs_outgoing_reserve(cs_outgoing *outgoing, uint64_t more);
void cs_outgoing_add(cs_outgoing *outgoing, uint32_t peer, const cs_credit *message);
/* Begin a new block; messages that nobody has taken stay to be taken. */
void cs_outgoing_reset(cs_outgoing *outgoing);
/* Root over the block's messages in order of (peer, sequence): 0, or -1 when memory is short. */
int cs_outgoing_root(const cs_outgoing *outgoing, uint32_t peer_count, uint32_t suite, uint8_t out[32]);

#endif
