/* Odd multiples of the generator for the lanes, written by generate_base8.py: [i][j] = (2 j + 1) * 2^(8 i) * G. */
#ifndef CS_SM2_BASE8_H
#define CS_SM2_BASE8_H

#include "weierstrass/point.h"

extern const cs_weierstrass_point CS_SM2_BASE8[32][128];

#endif
