/* Ed25519 with one written acceptance rule.
 *
 * A key A is good when its encoding is canonical (y < p, no sign bit on x = 0), it lies on the curve, has the prime
 * order L and is not the identity. A signature R || S of M under a good key is accepted just when S < L, R is a
 * canonical encoding of a point of the curve (of any order), and [8]([S]B - [k]A - R) is the identity, where
 * k = SHA-512(R || A || M) mod L. Every variant and the plain-Python twin give this same verdict on every input.
 *
 * Caller owns all memory; nothing allocates, there are no globals but constants, so all functions may run in many
 * threads. Byte buffers need no alignment and outputs must not overlap inputs. Key loading and verification take
 * public data only and their time depends on it.
 *
 * Signing is constant time by construction: no branch and no memory index depends on the secret, the nonce or anything
 * derived from them (table entries are chosen by masks over a whole row, scalars are reduced by masked subtraction), and
 * what held secrets is wiped. That claim is read off the source and not measured; it leans on the compiler keeping
 * masks as masks and on a multiplier whose time does not depend on its operands. */
#ifndef CS_ED25519_H
#define CS_ED25519_H

#include <stddef.h>
#include <stdint.h>

enum {
    CS_ED25519_NOT_CANONICAL = -1,
    CS_ED25519_NOT_ON_CURVE = -2,
    CS_ED25519_SMALL_ORDER = -3, /* the identity too */
    CS_ED25519_MIXED_ORDER = -4,
};

/* A point as (y + x, y - x, 2dxy): the form that makes adding it cheapest. Limbs of 51 bits. */
typedef struct {
    uint64_t y_plus_x[5], y_minus_x[5], xy2d[5];
} cs_ed25519_affine;

enum {
    CS_ED25519_COLUMN_BITS = 32, /* a scalar is cut into eight columns, which share their doublings */
    CS_ED25519_COLUMNS = 8,
    CS_ED25519_KEY_MULTIPLES = 2, /* [1] and [3]: width-3 non-adjacent form */
};

/* A loaded key: column i holds [1] and [3] of [2^(32 i)]A. It never changes after cs_ed25519_key_load. */
typedef struct {
    cs_ed25519_affine columns[CS_ED25519_COLUMNS][CS_ED25519_KEY_MULTIPLES];
    uint8_t encoded[32];
} cs_ed25519_key;

_Static_assert(sizeof(cs_ed25519_affine) == 120, "three field elements, no padding");
_Static_assert(sizeof(cs_ed25519_key) == 1952, "sixteen points and the encoding, no padding");

/* Check and load a public key: 0, or one of the negative reasons above (then *key is unspecified). */
int cs_ed25519_key_load(cs_ed25519_key *key, const uint8_t public_key[32]);

/* The name of a negative reason, such as "not_canonical". */
const char *cs_ed25519_strerror(int reason);

/* Return 1 to accept and 0 to reject. message may be NULL when message_bytes is 0. */
int cs_ed25519_verify(const cs_ed25519_key *key, const uint8_t signature[64], const uint8_t *message,
                      size_t message_bytes);

/* Derive the public key of a secret (RFC 8032, 5.1.5). */
void cs_ed25519_public_key(uint8_t public_key[32], const uint8_t secret[32]);

/* Sign deterministically (RFC 8032, 5.1.6). public_key must be that of the secret: signing one message under two
 * different public keys gives the secret away. */
void cs_ed25519_sign(uint8_t signature[64], const uint8_t secret[32], const uint8_t public_key[32],
                     const uint8_t *message, size_t message_bytes);

#endif
