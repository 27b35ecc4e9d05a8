/* Points of P-256, y^2 = x^3 - 3x + b: see weierstrass/curve.h. */
#ifndef CS_P256_CURVE_H
#define CS_P256_CURVE_H

#include "p256/field.h"

/* b in Montgomery form. */
static const fe CURVE_B = {{
    UINT64_C(0xd89cdf6229c4bddf), UINT64_C(0xacf005cd78843090), UINT64_C(0xe5a220abf7212ed6),
    UINT64_C(0xdc30061d04874834),
}};

#include "weierstrass/curve.h"

#endif
