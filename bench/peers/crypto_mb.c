/* Intel's crypto_mb behind four functions that take a whole batch, so that Python calls it once and its eight lanes are
 * always full: a peer to be measured against, linked into nothing that ships.
 *
 * Verdicts are its own and not those of our rule. Keys are 32 bytes (Ed25519) or x || y big-endian, signatures 64 bytes,
 * messages packed; each function sets verdicts[i] to 1 or 0 and returns 0, or -1 when the CPU lacks what the library needs. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <crypto_mb/cpu_features.h>
#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/ec_sm2.h>
#include <crypto_mb/ed25519.h>
#include <crypto_mb/sm3.h>

/* Of libcrypto, which the library needs anyway: its headers are not asked for. */
extern unsigned char *SHA256(const unsigned char *data, size_t data_bytes, unsigned char *out);

enum { LANES = 8, HASH_LANES = 16, LIMBS = 4 };

static const uint8_t USER_ID[] = "1234567812345678";

static int available(enum MBX_ALGO algorithm) { return mbx_get_algo_info(algorithm) != 0; }

/* Lanes past the end repeat the last item. */
static size_t item_of(size_t from, size_t lane, size_t count) { return from + lane < count ? from + lane : count - 1; }

static void keep(uint8_t *verdicts, size_t from, size_t count, mbx_status status)
{
    for (size_t lane = 0; lane < LANES && from + lane < count; lane++) {
        verdicts[from + lane] = MBX_GET_STS(status, (int)lane) == MBX_STATUS_OK;
    }
}

static void limbs_from(int64u out[LIMBS], const uint8_t *big_endian)
{
    for (size_t i = 0; i < LIMBS; i++) {
        int64u limb = 0;
        for (size_t j = 0; j < 8; j++) {
            limb = limb << 8 | big_endian[8 * (LIMBS - 1 - i) + j];
        }
        out[i] = limb;
    }
}

int peer_ed25519(uint8_t *verdicts, const uint8_t *keys, const uint8_t *signatures, const uint8_t *messages,
                 size_t count, size_t message_bytes)
{
    const ed25519_sign_component *r[LANES], *s[LANES];
    const ed25519_public_key *key[LANES];
    const int8u *message[LANES];
    int32u length[LANES];
    if (!available(MBX_ALGO_ED25519)) {
        return -1;
    }
    for (size_t from = 0; from < count; from += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            const size_t i = item_of(from, lane, count);
            r[lane] = (const ed25519_sign_component *)(signatures + 64 * i);
            s[lane] = (const ed25519_sign_component *)(signatures + 64 * i + 32);
            key[lane] = (const ed25519_public_key *)(keys + 32 * i);
            message[lane] = messages + message_bytes * i;
            length[lane] = (int32u)message_bytes;
        }
        keep(verdicts, from, count, mbx_ed25519_verify_mb8(r, s, message, length, key));
    }
    return 0;
}

/* What SM2 and P-256 have in common: halves of signatures, and keys as limbs. */
typedef struct {
    const int8u *r[LANES], *s[LANES], *message[LANES];
    int64u x_limbs[LANES][LIMBS], y_limbs[LANES][LIMBS];
    const int64u *x[LANES], *y[LANES];
} eight;

static void take_eight(eight *out, size_t from, size_t count, const uint8_t *keys, const uint8_t *signatures,
                       const uint8_t *messages, size_t message_bytes)
{
    for (size_t lane = 0; lane < LANES; lane++) {
        const size_t i = item_of(from, lane, count);
        out->r[lane] = signatures + 64 * i;
        out->s[lane] = signatures + 64 * i + 32;
        out->message[lane] = messages + message_bytes * i;
        limbs_from(out->x_limbs[lane], keys + 64 * i);
        limbs_from(out->y_limbs[lane], keys + 64 * i + 32);
        out->x[lane] = out->x_limbs[lane];
        out->y[lane] = out->y_limbs[lane];
    }
}

int peer_sm2(uint8_t *verdicts, const uint8_t *keys, const uint8_t *signatures, const uint8_t *messages, size_t count,
             size_t message_bytes)
{
    const int8u *user[LANES];
    int user_bytes[LANES], length[LANES];
    eight work;
    if (!available(MBX_ALGO_ECDSA_SM2)) {
        return -1;
    }
    for (size_t lane = 0; lane < LANES; lane++) {
        user[lane] = USER_ID;
        user_bytes[lane] = (int)sizeof USER_ID - 1;
        length[lane] = (int)message_bytes;
    }
    for (size_t from = 0; from < count; from += LANES) {
        take_eight(&work, from, count, keys, signatures, messages, message_bytes);
        keep(verdicts, from, count,
             mbx_sm2_ecdsa_verify_mb8(work.r, work.s, user, user_bytes, work.message, length, work.x, work.y, NULL,
                                      NULL));
    }
    return 0;
}

int peer_p256(uint8_t *verdicts, const uint8_t *keys, const uint8_t *signatures, const uint8_t *messages, size_t count,
              size_t message_bytes)
{
    uint8_t digests[LANES][32];
    eight work;
    if (!available(MBX_ALGO_ECDSA_NIST_P256)) {
        return -1;
    }
    for (size_t from = 0; from < count; from += LANES) {
        take_eight(&work, from, count, keys, signatures, messages, message_bytes);
        for (size_t lane = 0; lane < LANES; lane++) {
            SHA256(work.message[lane], message_bytes, digests[lane]);
            work.message[lane] = digests[lane];
        }
        keep(verdicts, from, count,
             mbx_nistp256_ecdsa_verify_mb8(work.r, work.s, work.message, work.x, work.y, NULL, NULL));
    }
    return 0;
}

/* SM3 of each of count rows, 32 bytes each. */
int peer_sm3(uint8_t *digests, const uint8_t *rows, size_t count, size_t row_bytes)
{
    const int8u *row[HASH_LANES];
    uint8_t unused[HASH_LANES][32];
    int8u *digest[HASH_LANES];
    int length[HASH_LANES];
    if (!available(MBX_ALGO_SM3)) {
        return -1;
    }
    for (size_t from = 0; from < count; from += HASH_LANES) {
        for (size_t lane = 0; lane < HASH_LANES; lane++) {
            row[lane] = rows + row_bytes * item_of(from, lane, count);
            digest[lane] = from + lane < count ? digests + 32 * (from + lane) : unused[lane];
            length[lane] = (int)row_bytes;
        }
        mbx_sm3_msg_digest_mb16(row, length, digest);
    }
    return 0;
}
