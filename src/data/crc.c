/*
 * CRC-32; what it is stands in crc.h.
 */
#include "data/crc.h"

#include "data/input.h"

void nbi_crc_start(nbi_crc *c)
{
    const uint32_t polynomial = 0xedb88320u; /* x^31 in bit 0 */
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t r = b;
        for (int bit = 0; bit < 8; bit++)
            r = r >> 1 ^ (r & 1 ? polynomial : 0);
        c->table[0][b] = r;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++) {
            const uint32_t r = c->table[k - 1][b];
            c->table[k][b] = r >> 8 ^ c->table[0][r & 0xff];
        }
    c->rest = ~(uint32_t)0;
}

void nbi_crc_add(nbi_crc *c, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint32_t r = c->rest;
    for (; size >= 8; size -= 8, p += 8) {
        const uint32_t a = (uint32_t)nbi_little(p, 4) ^ r, b = (uint32_t)nbi_little(p + 4, 4);
        r = c->table[7][a & 0xff] ^ c->table[6][a >> 8 & 0xff] ^ c->table[5][a >> 16 & 0xff] ^
            c->table[4][a >> 24] ^ c->table[3][b & 0xff] ^ c->table[2][b >> 8 & 0xff] ^
            c->table[1][b >> 16 & 0xff] ^ c->table[0][b >> 24];
    }
    for (; size; size--, p++)
        r = r >> 8 ^ c->table[0][(r ^ *p) & 0xff];
    c->rest = r;
}
