/* What this CPU offers of what any kernel here could use, whether or not it is used. */
#ifndef CS_SUITES_FEATURES_H
#define CS_SUITES_FEATURES_H

/* The name of a feature that the CPU has, the at-th of them; NULL behind the last. */
const char *cs_cpu_feature(int at);

/* How many levels of common/variant.h this build holds: 1, or 3 on x86-64. */
int cs_levels_built(void);

#endif
