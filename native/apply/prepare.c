/* Lays out what was signed. A sequence of linked records that the batch leaves open is no run: it keeps T. */
#include "apply/prepare.h"

#include "merkle/many.h"

static const char TRANSFER_TYPE[] = "clearspan/transfer/1";
static const char RUN_TYPE[] = "clearspan/run/1";

enum { PREFIX_BYTES = 32, HASHED_AT_ONCE = 16 };
_Static_assert(PREFIX_BYTES + CS_RECORD_BYTES == CS_MESSAGE_BYTES, "message");

void cs_transfer_prefix(uint32_t suite, uint8_t out[32], const uint8_t genesis_hash[32]) {
    cs_hash_ctx ctx;
    cs_hash_init(&ctx, suite);
    cs_hash_update(&ctx, TRANSFER_TYPE, sizeof TRANSFER_TYPE - 1);
    cs_hash_update(&ctx, genesis_hash, 32);
    cs_hash_final(out, &ctx);
}

static const uint8_t *record_of(const uint8_t *messages, uint32_t i) {
    return messages + (size_t)i * CS_MESSAGE_BYTES + PREFIX_BYTES;
}

static int is_linked(const uint8_t *record) {
    uint16_t flags;
    memcpy(&flags, record + offsetof(cs_record, flags), sizeof flags);
    return (flags & CS_FLAG_LINKED) != 0;
}

static uint64_t expires_at_of(const uint8_t *record) {
    uint64_t expires_at;
    memcpy(&expires_at, record + offsetof(cs_record, expires_at), sizeof expires_at);
    return expires_at;
}

static void run_prefix(uint32_t suite, uint8_t out[32], const uint8_t genesis_hash[32], const uint8_t *messages,
                       uint32_t first, uint32_t count) {
    uint64_t deadline = UINT64_MAX;
    cs_hash_ctx ctx;
    cs_hash_init(&ctx, suite);
    for (uint32_t i = first; i < first + count; i++) {
        uint64_t expires_at = expires_at_of(record_of(messages, i));
        deadline = expires_at < deadline ? expires_at : deadline;
    }
    cs_hash_update(&ctx, RUN_TYPE, sizeof RUN_TYPE - 1);
    cs_hash_update(&ctx, genesis_hash, 32);
    cs_hash_update(&ctx, &count, sizeof count);
    cs_hash_update(&ctx, &deadline, sizeof deadline);
    for (uint32_t done = 0; done < count; done += HASHED_AT_ONCE) {
        uint8_t hashes[HASHED_AT_ONCE][32];
        const uint32_t some = count - done < HASHED_AT_ONCE ? count - done : HASHED_AT_ONCE;
        cs_hash_rows(suite, hashes[0], record_of(messages, first + done), CS_MESSAGE_BYTES, CS_RECORD_BYTES, some);
        cs_hash_update(&ctx, hashes, (size_t)some * 32);
    }
    cs_hash_final(out, &ctx);
}

static int put_bindings(uint8_t *messages, uint32_t n, const uint8_t *binding_index, const uint8_t *bindings, uint32_t m) {
    static const uint8_t zero[32];
    uint64_t least = 0;
    for (uint32_t i = 0; i < m; i++) {
        uint32_t at;
        memcpy(&at, binding_index + 4 * (size_t)i, sizeof at);
        if (at < least || at >= n) {
            return CS_BINDING_ORDER;
        }
        if (memcmp(bindings + 32 * (size_t)i, zero, 32) == 0) {
            return CS_BINDING_ZERO;
        }
        memcpy(messages + (size_t)at * CS_MESSAGE_BYTES + PREFIX_BYTES + CS_HEAD_BYTES, bindings + 32 * (size_t)i, 32);
        least = (uint64_t)at + 1;
    }
    return 0;
}

int cs_prepare(uint32_t suite, uint8_t *messages, uint8_t *digests, const uint8_t genesis_hash[32], const uint8_t *heads,
               uint32_t n, const uint8_t *binding_index, const uint8_t *bindings, uint32_t m) {
    uint8_t prefix[PREFIX_BYTES];
    cs_transfer_prefix(suite, prefix, genesis_hash);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *message = messages + (size_t)i * CS_MESSAGE_BYTES;
        memcpy(message, prefix, PREFIX_BYTES);
        memcpy(message + PREFIX_BYTES, heads + (size_t)i * CS_HEAD_BYTES, CS_HEAD_BYTES);
        memset(message + PREFIX_BYTES + CS_HEAD_BYTES, 0, 32);
    }
    int result = put_bindings(messages, n, binding_index, bindings, m);
    if (result != 0) {
        return result;
    }
    for (uint32_t first = 0; first < n;) {
        uint32_t end = first;
        while (end < n && is_linked(record_of(messages, end))) {
            end++;
        }
        if (end > first && end < n) {
            uint8_t prefix_of_run[PREFIX_BYTES];
            run_prefix(suite, prefix_of_run, genesis_hash, messages, first, end - first + 1);
            for (uint32_t i = first; i <= end; i++) {
                memcpy(messages + (size_t)i * CS_MESSAGE_BYTES, prefix_of_run, PREFIX_BYTES);
            }
        }
        first = end + 1;
    }
    cs_hash_rows(suite, digests, messages, CS_MESSAGE_BYTES, CS_MESSAGE_BYTES, n);
    return 0;
}
