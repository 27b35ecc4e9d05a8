/* Overwriting memory that held a secret. */
#ifndef CS_WIPE_H
#define CS_WIPE_H

#include <stddef.h>
#include <string.h>

/* Zero the bytes; the empty assembly keeps the compiler from dropping stores that nobody reads. */
static inline void cs_wipe(void *memory, size_t bytes) {
    memset(memory, 0, bytes);
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

#endif
