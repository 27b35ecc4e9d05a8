/* Points of sm2p256v1, y^2 = x^3 - 3x + b: see weierstrass/curve.h. */
#ifndef CS_SM2_CURVE_H
#define CS_SM2_CURVE_H

#include "sm2/field.h"

/* b in Montgomery form. */
static const fe CURVE_B = {{
    UINT64_C(0x90d230632bc0dd42), UINT64_C(0x71cf379ae9b537ab), UINT64_C(0x527981505ea51c3c),
    UINT64_C(0x240fe188ba20e2c8),
}};

#include "weierstrass/curve.h"

#endif
