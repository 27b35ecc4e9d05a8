/* P-256 signing sixteen to 64 messages at a time, in lanes: the same bytes as p256/sign.c. */
#include <string.h>

#include "p256/batch.h"

/* Sign one item; zeros when its secret will not do. */
static void sign_singly(const cs_p256_signing_item *item, size_t message_bytes) {
    if (cs_p256_sign(item->signature, item->secret, item->message, message_bytes) != 0) {
        memset(item->signature, 0, 64);
    }
}

#if defined(__x86_64__)

#include "p256/avx512ifma/curve8.h"

#include "p256/tables.h"
#include "sha2/sha256_x16.h"

#define HASH_X16 cs_sha256_x16
#include "weierstrass/avx512ifma/sign8.h"

/* e = SHA-256(message) modulo n, for sixteen items. */
static void digests_of(signing *work, const cs_p256_signing_item *const items[HASHED_AT_ONCE], int from,
                       size_t message_bytes) {
    uint8_t e[HASHED_AT_ONCE][HASH_BYTES], *out[HASHED_AT_ONCE];
    const uint8_t *bodies[HASHED_AT_ONCE];
    for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
        out[lane] = e[lane];
        bodies[lane] = items[lane]->message;
    }
    cs_sha256_x16(out, NULL, 0, bodies, message_bytes);
    for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
        limbs_load(work->digests[from + lane], e[lane]);
        order_reduce(work->digests[from + lane], work->digests[from + lane]);
    }
}

/* r = x, s = (e + r d) / k, the lower of s and -s: 1, or 0 when this nonce will not do. */
static uint64_t finish(uint8_t signature[64], const signing *work, int i) {
    number r, s;
    order_reduce(r, work->x[i]);
    order_enter(s, work->secrets[i]);
    order_multiply(s, s, r);
    order_add(s, s, work->digests[i]);
    order_multiply(s, s, work->inverses[i]);
    order_lower(s, s);
    limbs_store(signature, r);
    limbs_store(signature + 32, s);
    return (limbs_are_zero(r) | limbs_are_zero(s)) ^ 1;
}

/* Sign count items, at most SIGNED_AT_ONCE. */
static void sign_some(signing *work, const cs_p256_signing_item *items, size_t count, size_t message_bytes) {
    const cs_p256_signing_item *these[SIGNED_AT_ONCE]; /* the last vectors are filled with the first item */
    const uint8_t *secrets[SIGNED_AT_ONCE];
    uint64_t usable[SIGNED_AT_ONCE];
    work->count = (int)((count + HASHED_AT_ONCE - 1) / HASHED_AT_ONCE * HASHED_AT_ONCE);
    for (int i = 0; i < work->count; i++) {
        these[i] = &items[(size_t)i < count ? i : 0];
        secrets[i] = these[i]->secret;
        limbs_load(work->secrets[i], secrets[i]);
        usable[i] = take_number(work->secrets[i], 1);
    }
    for (int from = 0; from < work->count; from += HASHED_AT_ONCE) {
        digests_of(work, these + from, from, message_bytes);
    }
    signing_nonces(work, usable, secrets);
    memcpy(work->inverses, work->nonces, sizeof work->inverses);
    signing_points(work, CS_P256_BASE);
    signing_inverses(work);
    for (size_t i = 0; i < count; i++) {
        if (!(finish(items[i].signature, work, (int)i) & usable[i])) {
            sign_singly(&items[i], message_bytes);
        }
    }
}

void cs_p256_sign_batch(const cs_p256_signing_item *items, size_t count, size_t message_bytes) {
    signing work;
    for (size_t from = 0, some; from < count; from += some) {
        some = count - from < SIGNED_AT_ONCE ? count - from : SIGNED_AT_ONCE;
        if (some > SIGNED_SINGLY_MAX) {
            sign_some(&work, items + from, some, message_bytes);
            continue;
        }
        for (size_t i = 0; i < some; i++) {
            sign_singly(&items[from + i], message_bytes);
        }
    }
    cs_wipe(&work, sizeof work);
}

#pragma GCC pop_options

#else

void cs_p256_sign_batch(const cs_p256_signing_item *items, size_t count, size_t message_bytes) {
    for (size_t i = 0; i < count; i++) {
        sign_singly(&items[i], message_bytes);
    }
}

#endif
