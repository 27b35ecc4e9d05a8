/* SM2 signatures (GB/T 32918.2) over sm2p256v1 with SM3 and the user id 1234567812345678.
 *
 * Public keys are x || y and signatures r || s, each half 32 bytes big-endian; secrets are 32 bytes big-endian in
 * [1, n-2]. The caller owns all memory, nothing allocates and nothing is global. Loading and verifying handle public
 * data and take a time that depends on it; making public keys and signatures reads secrets in constant time: no
 * branch and no address depends on one.
 */
#ifndef CS_SM2_H
#define CS_SM2_H

#include <stddef.h>
#include <stdint.h>

#include "weierstrass/point.h"

#define CS_SM2_KEY_RANGE (-1)    /* a coordinate of the public key is not below p */
#define CS_SM2_KEY_CURVE (-2)    /* the public key is not a point of the curve (all zeros, for one) */
#define CS_SM2_SECRET_RANGE (-3) /* the secret is 0, or above n - 2 */

typedef cs_weierstrass_point cs_sm2_point;

/* A public key ready for verifying: plain data, may be copied and shared between threads. */
typedef struct {
    uint8_t public_key[64];
    uint8_t z[32];                                           /* Z: SM3 of user id, curve and key */
    cs_sm2_point multiples[CS_KEY_CHUNKS][CS_KEY_MULTIPLES]; /* [i][j] = (2j + 1) * 2^(64i) times the key */
} cs_sm2_key;

/* Check a public key and prepare it: 0, or CS_SM2_KEY_… with key in no usable state. Costs about one verification. */
int cs_sm2_key_load(cs_sm2_key *key, const uint8_t public_key[64]);

/* 1 when the signature of these n bytes is good, else 0. */
int cs_sm2_verify(const cs_sm2_key *key, const uint8_t signature[64], const uint8_t *message, size_t n);

/* The same from the step where e = SM3(Z || message) is known. */
int cs_sm2_verify_digest(const cs_sm2_key *key, const uint8_t signature[64], const uint8_t e[32]);

/* 0 or CS_SM2_SECRET_RANGE with the output untouched. */
int cs_sm2_public_key(uint8_t public_key[64], const uint8_t secret[32]);

/* Sign with a nonce derived from secret and digest as in RFC 6979 with HMAC-SM3: equal inputs, equal signatures.
 * public_key is the secret's own: with another one nobody can verify the signature, and no secret leaks.
 * 0 or CS_SM2_SECRET_RANGE with the output untouched. */
int cs_sm2_sign(uint8_t signature[64], const uint8_t secret[32], const uint8_t public_key[64],
                const uint8_t *message, size_t n);

/* Z of a public key, which need not be checked for it. */
void cs_sm2_z_value(uint8_t z[32], const uint8_t public_key[64]);

/* A sentence for one of the negative codes. */
const char *cs_sm2_strerror(int code);

#endif
