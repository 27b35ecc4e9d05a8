/* Multiples of the generator, written by weierstrass/generate_tables.py: CS_P256_BASE[i][j] = (j + 1) * 2^(5i) * G. */
#ifndef CS_P256_TABLES_H
#define CS_P256_TABLES_H

#include "weierstrass/point.h"

extern const cs_base_row CS_P256_BASE[CS_BASE_WINDOWS];

#endif
