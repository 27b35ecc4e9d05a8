/* Multiples of the generator, written by generate_tables.py: CS_SM2_BASE[i][j] = (j + 1) * 2^(5i) * G. */
#ifndef CS_SM2_TABLES_H
#define CS_SM2_TABLES_H

#include "sm2/sm2.h"

#define CS_SM2_WINDOW_BITS 5
#define CS_SM2_WINDOWS 52 /* 260 bits: 256 and the carry of the signed digits */
#define CS_SM2_WINDOW_POINTS 16

extern const cs_sm2_point CS_SM2_BASE[CS_SM2_WINDOWS][CS_SM2_WINDOW_POINTS];

#endif
