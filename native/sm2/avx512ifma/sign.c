/* SM2 signing sixteen to 64 messages at a time, in lanes: the same bytes as sm2/sign.c. */
#include <string.h>

#include "sm2/batch.h"

/* Sign one item; zeros when its secret will not do. */
static void sign_singly(const cs_sm2_signing_item *item, size_t message_bytes) {
    if (cs_sm2_sign(item->signature, item->secret, item->public_key, item->message, message_bytes) != 0) {
        memset(item->signature, 0, 64);
    }
}

#if defined(__x86_64__)

#include "sm2/avx512ifma/curve8.h"

#include "sm2/tables.h"
#include "sm3/sm3_x16.h"

#define HASH_X16 cs_sm3_x16
#include "weierstrass/avx512ifma/sign8.h"

/* e = SM3(Z || message) modulo n, for sixteen items. */
static void digests_of(signing *work, const cs_sm2_signing_item *const items[HASHED_AT_ONCE], int from,
                       size_t message_bytes) {
    uint8_t z[HASHED_AT_ONCE][HASH_BYTES], *out[HASHED_AT_ONCE];
    const uint8_t *heads[HASHED_AT_ONCE], *bodies[HASHED_AT_ONCE];
    for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
        out[lane] = z[lane];
        heads[lane] = CS_SM2_Z_PREFIX;
        bodies[lane] = items[lane]->public_key;
    }
    cs_sm3_x16(out, heads, CS_SM2_Z_PREFIX_BYTES, bodies, 64);
    for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
        heads[lane] = z[lane];
        bodies[lane] = items[lane]->message;
    }
    cs_sm3_x16(out, heads, HASH_BYTES, bodies, message_bytes);
    for (int lane = 0; lane < HASHED_AT_ONCE; lane++) {
        limbs_load(work->digests[from + lane], z[lane]);
        order_reduce(work->digests[from + lane], work->digests[from + lane]);
    }
}

/* r = e + x, s = (k - r d) / (1 + d): 1, or 0 when this nonce will not do. */
static uint64_t finish(uint8_t signature[64], const signing *work, int i) {
    number r, s, sum;
    order_reduce(r, work->x[i]);
    order_add(r, work->digests[i], r);
    order_add(sum, r, work->nonces[i]);
    uint64_t usable = (limbs_are_zero(r) | limbs_are_zero(sum)) ^ 1;
    order_enter(s, work->secrets[i]);
    order_multiply(s, s, r);
    order_subtract(s, work->nonces[i], s);
    order_multiply(s, s, work->inverses[i]);
    limbs_store(signature, r);
    limbs_store(signature + 32, s);
    usable &= limbs_are_zero(s) ^ 1;
    cs_wipe(sum, sizeof sum);
    return usable;
}

/* Sign count items, at most SIGNED_AT_ONCE. */
static void sign_some(signing *work, const cs_sm2_signing_item *items, size_t count, size_t message_bytes) {
    static const number one = {1};
    const cs_sm2_signing_item *these[SIGNED_AT_ONCE]; /* the last vectors are filled with the first item */
    const uint8_t *secrets[SIGNED_AT_ONCE];
    uint64_t usable[SIGNED_AT_ONCE];
    work->count = (int)((count + HASHED_AT_ONCE - 1) / HASHED_AT_ONCE * HASHED_AT_ONCE);
    for (int i = 0; i < work->count; i++) {
        these[i] = &items[(size_t)i < count ? i : 0];
        secrets[i] = these[i]->secret;
        limbs_load(work->secrets[i], secrets[i]);
        usable[i] = take_number(work->secrets[i], limbs_below(work->secrets[i], ORDER_MINUS_1));
        order_add(work->inverses[i], work->secrets[i], one);
    }
    for (int from = 0; from < work->count; from += HASHED_AT_ONCE) {
        digests_of(work, these + from, from, message_bytes);
    }
    signing_nonces(work, usable, secrets);
    signing_points(work, CS_SM2_BASE);
    signing_inverses(work);
    for (size_t i = 0; i < count; i++) {
        if (!(finish(items[i].signature, work, (int)i) & usable[i])) {
            sign_singly(&items[i], message_bytes);
        }
    }
}

void cs_sm2_sign_batch(const cs_sm2_signing_item *items, size_t count, size_t message_bytes) {
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

void cs_sm2_sign_batch(const cs_sm2_signing_item *items, size_t count, size_t message_bytes) {
    for (size_t i = 0; i < count; i++) {
        sign_singly(&items[i], message_bytes);
    }
}

#endif
