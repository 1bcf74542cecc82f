/*
 * Programs as bytes: what a file of one holds.
 */
#ifndef NABLA_SRC_KEEP_H
#define NABLA_SRC_KEEP_H

#include "program/program.h"

#define NBI_KEEP_MAGIC                              \
    {                                               \
        0x89, 'N', 'B', 'P', '\r', '\n', 0x1a, '\n' \
    }
enum {
    NBI_KEEP_VERSION = 1,
    NBI_KEEP_NODE = 16,    /* bytes of a node */
    NBI_KEEP_CHECKSUM = 8, /* and of the checksum */
    /* flags of an argument */
    NBI_KEEP_SHARED = 1,
    NBI_KEEP_SUM = 2,
    NBI_KEEP_VECTOR = 4
};

/* The program in memory taken from h; NULL if there is none. */
uint8_t *nbi_program_pack(const nb_program *p, nbi_heap *h, size_t *size);
/* The program that the bytes hold; NULL with a reason, which says at which byte, if they hold none. */
nb_program *nbi_program_unpack(const uint8_t *bytes, size_t size, const nb_allocator *a,
                               nb_reason *why);
/* The checksum of so many bytes, as it stands in the eight that follow them. */
uint64_t nbi_program_checksum(const uint8_t *bytes, size_t size);

#endif
