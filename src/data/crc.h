/*
 * CRC-32 as zlib, zip and PNG have it: the remainder of the message, as a polynomial over GF(2), after
 * division by x^32 + x^26 + x^23 + x^22 + x^16 + x^12 + x^11 + x^10 + x^8 + x^7 + x^5 + x^4 + x^2 + x + 1,
 * bits taken from the least significant on, complemented before and after.
 *
 * Eight bytes at a time: table[k][b] is the remainder of byte b followed by k zero bytes, and remainders
 * add. The tables are made where they are used, which costs microseconds.
 */
#ifndef NABLA_SRC_CRC_H
#define NABLA_SRC_CRC_H

#include <stddef.h>
#include <stdint.h>

typedef struct nbi_crc {
    uint32_t table[8][256];
    uint32_t rest;
} nbi_crc;

void nbi_crc_start(nbi_crc *c);
void nbi_crc_add(nbi_crc *c, const void *data, size_t size);
/* Of all that was added; adding may go on. */
static inline uint32_t nbi_crc_value(const nbi_crc *c) { return ~c->rest; }

#endif
