/* What is the same for all keys. */
#ifndef CS_SM2_TABLES_H
#define CS_SM2_TABLES_H

#include "weierstrass/point.h"

/* Multiples of the generator, written by weierstrass/generate_tables.py: [i][j] = (j + 1) * 2^(5i) * G. */
extern const cs_base_row CS_SM2_BASE[CS_BASE_WINDOWS];

/* ENTL || user id || a || b || xG || yG: what comes before the key in Z. */
enum { CS_SM2_Z_PREFIX_BYTES = 2 + 16 + 4 * 32 };
extern const uint8_t CS_SM2_Z_PREFIX[CS_SM2_Z_PREFIX_BYTES];

#endif
