/* Multiples of the base point B, constants written by generate_tables.py. */
#ifndef CS_ED25519_TABLES_H
#define CS_ED25519_TABLES_H

#include "ed25519/ed25519.h"

enum {
    CS_ED25519_BASE_WIDTH = 7, /* of the non-adjacent form of S: odd digits up to 63, so 32 points a column */
    CS_ED25519_BASE_MULTIPLES = 32,
    CS_ED25519_SIGN_ROWS = 32, /* one for each byte of a scalar */
    CS_ED25519_SIGN_MULTIPLES = 8,
};

/* [i][j] is [(2 j + 1) 2^(32 i)]B: for verification, indexed by public digits. */
extern const cs_ed25519_affine cs_ed25519_base_columns[CS_ED25519_COLUMNS][CS_ED25519_BASE_MULTIPLES];

/* [i][j] is [(j + 1) 256^i]B: for signing, always read a whole row at a time. */
extern const cs_ed25519_affine cs_ed25519_sign_rows[CS_ED25519_SIGN_ROWS][CS_ED25519_SIGN_MULTIPLES];

#endif
