/* The signature kernels at their C entries, one shape for all suites: what the tests that load a library of their own
 * and the fuzz harness drive. Suites are numbered as in the product: 1 Ed25519, 2 SM2, 3 P-256. */
#ifndef CS_TESTS_SHIM_H
#define CS_TESTS_SHIM_H

#include <stddef.h>
#include <stdint.h>

enum { SHIM_SUITES = 3, SHIM_KEY_FAULTS_FROM = -9, SHIM_SEED_BYTES = 32, SHIM_HINT_BYTES = 32 };

/* The bytes of a public key. */
size_t shim_key_bytes(int suite);

/* Whether the batch entry of a suite runs here. */
int shim_batch_available(int suite);

/* How high the kernels may reach: 0 portable, 1 AVX2, 2 AVX-512 IFMA. */
void shim_set_variant(int level);

/* A negative key fault, or the verdict. */
int shim_verify(int suite, const uint8_t *public_key, const uint8_t *signature, const uint8_t *message, size_t n);

/* The same from the digest on; suites 2 and 3. */
int shim_verify_digest(int suite, const uint8_t *public_key, const uint8_t *signature, const uint8_t *digest);

/* Verify count items, key_indexes into key_count public keys. hints and hints_out may be NULL. with_tables builds the
 * tables of the keys first where the suite has them. The scratch memory is filled with a pattern before, and has
 * guard bytes behind, which are checked. Returns 0; a key fault when a key is refused; -100 when memory is short; -101
 * when a guard byte was written. */
int shim_verify_batch(int suite, uint8_t *verdicts, uint8_t *hints_out, const uint8_t *public_keys, size_t key_count,
                      const uint32_t *key_indexes, const uint8_t *signatures, const uint8_t *messages,
                      const uint8_t *hints, size_t count, size_t message_bytes, int with_tables,
                      const uint8_t seed[SHIM_SEED_BYTES]);

#endif
