/* From columns to signed messages and record digests (RECORD-1 to RECORD-4, RECORD-7). */
#ifndef CS_APPLY_PREPARE_H
#define CS_APPLY_PREPARE_H

#include "apply/layout.h"

/* Columns that are no batch. */
#define CS_BINDING_ORDER (-1) /* binding_index is not strictly ascending or not below n */
#define CS_BINDING_ZERO (-2)  /* a binding is all zeros */

/* T(transfer): what every transfer's signature covers before its record. */
void cs_transfer_prefix(uint32_t suite, uint8_t out[32], const uint8_t genesis_hash[32]);

/* Write n messages of 192 bytes and n digests of 32. heads n x 128, binding_index m x u32, bindings m x 32, any
 * alignment; 1 <= n <= CS_BATCH_MAX, m <= n. Returns 0 or a code above, and then the outputs are arbitrary. */
int cs_prepare(uint32_t suite, uint8_t *messages, uint8_t *digests, const uint8_t genesis_hash[32], const uint8_t *heads,
               uint32_t n, const uint8_t *binding_index, const uint8_t *bindings, uint32_t m);

#endif
