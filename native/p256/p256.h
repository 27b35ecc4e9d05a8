/* ECDSA signatures (FIPS 186-5) over P-256 with SHA-256, and with a low s: of the two s that fit a message, only the
 * one of at most (n-1)/2 is good, so that nobody can turn a signature into another one.
 *
 * Public keys are x || y and signatures r || s, each half 32 bytes big-endian; secrets are 32 bytes big-endian in
 * [1, n-1]. The caller owns all memory, nothing allocates and nothing is global. Loading and verifying handle public
 * data and take a time that depends on it; making public keys and signatures reads secrets in constant time: no
 * branch and no address depends on one.
 */
#ifndef CS_P256_H
#define CS_P256_H

#include <stddef.h>
#include <stdint.h>

#include "weierstrass/point.h"

#define CS_P256_KEY_RANGE (-1)    /* a coordinate of the public key is not below p */
#define CS_P256_KEY_CURVE (-2)    /* the public key is not a point of the curve (all zeros, for one) */
#define CS_P256_SECRET_RANGE (-3) /* the secret is 0, or above n - 1 */

typedef cs_weierstrass_point cs_p256_point;

/* A public key ready for verifying: plain data, may be copied and shared between threads. */
typedef struct {
    uint8_t public_key[64];
    cs_p256_point multiples[CS_KEY_CHUNKS][CS_KEY_MULTIPLES]; /* [i][j] = (2j + 1) * 2^(64i) times the key */
} cs_p256_key;

/* Check a public key and prepare it: 0, or CS_P256_KEY_… with key in no usable state. Costs about one verification. */
int cs_p256_key_load(cs_p256_key *key, const uint8_t public_key[64]);

/* 1 when the signature of these n bytes is good, else 0. */
int cs_p256_verify(const cs_p256_key *key, const uint8_t signature[64], const uint8_t *message, size_t n);

/* The same from the step where e = SHA-256(message) is known. */
int cs_p256_verify_digest(const cs_p256_key *key, const uint8_t signature[64], const uint8_t e[32]);

/* 0 or CS_P256_SECRET_RANGE with the output untouched. */
int cs_p256_public_key(uint8_t public_key[64], const uint8_t secret[32]);

/* Sign with the nonce of RFC 6979 and the low s: equal inputs, equal signatures.
 * 0 or CS_P256_SECRET_RANGE with the output untouched. */
int cs_p256_sign(uint8_t signature[64], const uint8_t secret[32], const uint8_t *message, size_t n);

/* A sentence for one of the negative codes. */
const char *cs_p256_strerror(int code);

#endif
