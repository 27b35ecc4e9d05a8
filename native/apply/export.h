/* Checkpoint bytes of a shard's ledger: little-endian, no gaps, the same state always the same bytes.
 *
 * In order: this header; ledgers (debits pending 16, debits posted 16); peers (sent 8, received 8); accounts (160);
 * keys (24, key id 1 first); id buckets ascending, each its leaf data (48) and its entries in the order made (224);
 * pending buckets ascending, their leaf data (48); pendings in order of creation (200); the numbers of the ended ones,
 * counted in that order from 0, in the order in which they are forgotten (8); decision leaves of the current block (48);
 * outgoing messages that are of the current block or not yet taken, in the order made (peer index 8, message 128); in
 * version 2, which is that of a state with rules, how many places these have (8) and the rows of all of them (128).
 */
#ifndef CS_APPLY_EXPORT_H
#define CS_APPLY_EXPORT_H

#include "apply/state.h"

#define CS_EXPORT_VERSION 1
#define CS_EXPORT_VERSION_RULES 2

typedef struct {
    uint8_t magic[4]; /* CSKS */
    uint16_t version, suite;
    uint32_t shard, slot_map_version;
    uint8_t genesis_hash[32];
    uint8_t parameters_digest[32]; /* of what else the caller gives and the bytes do not repeat */
    uint64_t last_time, relay_height, relay_time;
    uint64_t account_count, key_count, id_bucket_count, id_count;
    uint64_t pending_bucket_count, pending_count, ended_count;
    uint64_t decision_count, outgoing_count;
    uint64_t outgoing_block_first, outgoing_taken; /* counted from the first message written */
    uint32_t ledger_count, peer_count;
} cs_export_header;
_Static_assert(sizeof(cs_export_header) == 200, "checkpoint header");

#define CS_EXPORT_MAGIC "CSKS"
enum { CS_EXPORT_LEDGER = 32, CS_EXPORT_PEER = 16, CS_EXPORT_FORGET = 8, CS_EXPORT_OUTGOING = 8 + CS_CREDIT_BYTES };

void cs_export_head(const cs_state *state, cs_export_header *header);

#endif
