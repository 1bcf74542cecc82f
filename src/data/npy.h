/*
 * One npy array within a file: at an offset of its own, for npz archives, or at 0.
 */
#ifndef NABLA_SRC_NPY_H
#define NABLA_SRC_NPY_H

#include "data/input.h"
#include <nabla/file.h>

typedef struct nbi_npy {
    nb_type type;
    nb_shape shape;
    bool fortran, big; /* columns first; big-endian */
    uint64_t data;     /* offset of the first element in the input */
    size_t bytes;      /* of all elements */
} nbi_npy;

/* Reads the header of the array that takes the bytes [offset, offset + size) of the input, all of them. */
nb_code nbi_npy_open(nbi_npy *a, nbi_input *in, uint64_t offset, uint64_t size, nb_reason *why);
/* Brings the elements, read as they stand, to the machine's order and C's; work: as many bytes, or
 * NULL if the array is not in Fortran's order. */
void nbi_npy_arrange(const nbi_npy *a, void *data, void *work);
/* Whether nbi_npy_arrange moves elements. */
static inline bool nbi_npy_moves(const nbi_npy *a) { return a->fortran && a->shape.rank > 1; }

/* The header of an array, into `to`; its length, or 0 if NumPy has no such type. */
enum { NBI_NPY_HEADER = 320 };
size_t nbi_npy_header(const nb_file_entry *e, char to[NBI_NPY_HEADER]);

#endif
