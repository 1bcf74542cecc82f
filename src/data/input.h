/*
 * Reading: a regular file, or bytes in memory, either at a given place or byte after byte.
 *
 * All readers of this layer look at files through this. Every read is checked against the size that the
 * file had when it was opened; one that has become shorter since is an error like any other, and no
 * header can make anyone allocate more than the file could fill.
 */
#ifndef NABLA_SRC_INPUT_H
#define NABLA_SRC_INPUT_H

#include "base/memory.h"
#include <nabla/base.h>

typedef struct nbi_input {
    nbi_heap *heap;
    char *path; /* a copy, for messages */
    size_t path_size;
    int fd; /* -1: bytes in memory */
    uint64_t size;
    uint64_t next; /* offset in the file of the byte behind the buffer's last */
    uint8_t *buffer;
    size_t at, have;
    bool failed; /* a read went wrong, which nbi_input_byte tells as an end */
} nbi_input;

nb_code nbi_input_open(nbi_input *in, nbi_heap *heap, const char *path, nb_reason *why);
/* The bytes stay the caller's. */
void nbi_input_memory(nbi_input *in, const char *text, size_t size);
void nbi_input_close(nbi_input *in); /* also of a zeroed struct */

/* Bytes [offset, offset + size) into `to`; "truncated" if the file ends before. */
nb_code nbi_input_read(nbi_input *in, uint64_t offset, size_t size, void *to, nb_reason *why);

/* Sets where nbi_input_byte reads next. */
void nbi_input_seek(nbi_input *in, uint64_t offset);
/* Fills the buffer again; false at the end, or if reading failed. */
bool nbi_input_fill(nbi_input *in);
/* What went wrong with bytes. */
nb_code nbi_input_failure(const nbi_input *in, nb_reason *why);

/* The next byte, or -1 at the end. */
static inline int nbi_input_byte(nbi_input *in)
{
    return in->at < in->have || nbi_input_fill(in) ? in->buffer[in->at++] : -1;
}

/* That byte, without taking it. */
static inline int nbi_input_peek(nbi_input *in)
{
    return in->at < in->have || nbi_input_fill(in) ? in->buffer[in->at] : -1;
}

/* ---- numbers in bytes ------------------------------------------------------------------------ */

static inline uint64_t nbi_little(const uint8_t *p, int bytes)
{
    uint64_t x = 0;
    for (int i = bytes; i-- > 0;)
        x = x << 8 | p[i];
    return x;
}

static inline uint64_t nbi_big(const uint8_t *p, int bytes)
{
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++)
        x = x << 8 | p[i];
    return x;
}

/* Returns the byte behind. */
static inline uint8_t *nbi_put_little(uint8_t *p, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++, x >>= 8)
        *p++ = (uint8_t)(x & 0xff);
    return p;
}

#endif
