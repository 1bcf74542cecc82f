/*
 * nabla/file.h: named arrays and short texts in files, safely.
 *
 * A file is a list of named tensors with a map of texts beside them. It is put together in memory and
 * saved as a whole, or loaded as a whole:
 *
 *     nb_file *f = nb_file_new(NULL);
 *     nb_file_put(f, &(nb_file_entry){"w", NB_T_F32, NB_SHAPE(32, 10), w});
 *     nb_file_put_text(f, "step", "1200");
 *     nb_code code = nb_file_save(f, "model.safetensors", &why);     first error of all three
 *     nb_file_free(f);
 *
 *     if (!nb_file_load("model.safetensors", NULL, &f, &why))
 *         code = nb_file_restore(f, 1, &(nb_file_entry){"w", NB_T_F32, NB_SHAPE(32, 10), w}, false, &why);
 *
 * Saving is atomic: the file is written beside its place, synced, renamed over it, and the folder
 * synced. Whatever happens (a full disk, a kill, a power cut), the place holds the old file or the new
 * one, whole. Loading and restoring are all or nothing: until everything has been checked, nothing
 * that the caller owns is changed.
 *
 * Formats: safetensors (read by Python's safetensors library, and by nabla if Python wrote it), npy and
 * npz of NumPy. All are little-endian; arrays are dense and row-major. Files are hostile until proven
 * otherwise: a broken one costs a message, never more memory than a small multiple of its length.
 *
 * Functions return NB_OK or a code, whose reason goes to *why, if that is not NULL.
 */
#ifndef NABLA_FILE_H
#define NABLA_FILE_H

#include <nabla/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Element types of files. The first two are nb_dtype's values. */
typedef enum nb_type {
    NB_T_F64,
    NB_T_F32,
    NB_T_F16,  /* IEEE half: read and written as bytes, converted by nb_numbers */
    NB_T_BF16, /* the upper half of a float; safetensors only */
    NB_T_I64,
    NB_T_I32,
    NB_T_I16,
    NB_T_I8,
    NB_T_U64,
    NB_T_U32,
    NB_T_U16,
    NB_T_U8,
    NB_T_BOOL, /* a byte, 0 or 1 */
    NB_TYPES
} nb_type;

NB_API size_t nb_type_size(nb_type type);      /* in bytes; 0 if there is no such type */
NB_API const char *nb_type_name(nb_type type); /* "F64", "I8", ...; never NULL */
/* n elements of any type as doubles; integers beyond 2^53 are rounded. */
NB_API void nb_numbers(nb_type type, const void *from, int64_t n, double *to);

typedef struct nb_file_entry {
    const char *name; /* unique in its file; not empty, but for the one array of an npy file */
    nb_type type;
    nb_shape shape; /* NB_POINT for a single number */
    void *data;     /* dense, row-major; may be NULL if there are no elements */
} nb_file_entry;

typedef struct nb_file nb_file;

/* ---- putting together ------------------------------------------------------------------------ */

/* Empty. allocator may be NULL. NULL only when there is no memory. */
NB_API nb_file *nb_file_new(const nb_allocator *allocator);
NB_API void nb_file_free(nb_file *f); /* NULL is fine */

/* Adds a tensor. Its name is copied; its data is not, and must stay until the file has been saved.
 * Errors: a name that is empty, used before, or not UTF-8; no such type; a bad shape. The first error
 * stays with the file, and saving returns it, so a series of puts is checked once. f may be NULL:
 * NB_ERR_MEMORY. */
NB_API nb_code nb_file_put(nb_file *f, const nb_file_entry *entry);
/* As nb_file_put, but the file takes a copy of the data. */
NB_API nb_code nb_file_put_copy(nb_file *f, const nb_file_entry *entry);
/* Sets a text; both are copied. Setting a key again replaces its text. Keys that begin with "nabla."
 * are the library's. */
NB_API nb_code nb_file_put_text(nb_file *f, const char *key, const char *value);

/* ---- looking --------------------------------------------------------------------------------- */

NB_API size_t nb_file_count(const nb_file *f);
/* Tensor i < nb_file_count, in the order put or, if loaded, that of the file; else NULL. */
NB_API const nb_file_entry *nb_file_at(const nb_file *f, size_t i);
/* By name; NULL if there is none. */
NB_API const nb_file_entry *nb_file_find(const nb_file *f, const char *name);
/* The text of a key; NULL if there is none. */
NB_API const char *nb_file_text(const nb_file *f, const char *key);
/* Number i of the texts: its key, and in *value its text; NULL beyond the last. */
NB_API const char *nb_file_text_at(const nb_file *f, size_t i, const char **value);

/* Copies the file's tensors to entry[k].data, for k < n. All of them are checked before the first byte
 * is copied, and the first that is missing, or differs in type or shape, is named in the reason with
 * what was found and what was expected. `exact`: a tensor of the file that is not asked for is an
 * error too. */
NB_API nb_code nb_file_restore(const nb_file *f, size_t n, const nb_file_entry *entry, bool exact,
                               nb_reason *why);

/* ---- safetensors ----------------------------------------------------------------------------- */

/* Layout: 8 bytes, the header's length, little-endian; the header, JSON padded by spaces to a multiple
 * of 8; the tensors without gaps, those of wide types first, so that each is aligned to its type.
 *
 * Texts go to "__metadata__", beside two of the library's own: "nabla.format", "1", and
 * "nabla.checksum", eight hexadecimal digits, the CRC-32 (zlib's) of the whole file with "00000000" in
 * their place. Loading verifies the checksum, which only files without "nabla.format" may lack, and
 * refuses formats it does not know. */
NB_API nb_code nb_file_save(const nb_file *f, const char *path, nb_reason *why);
/* Into *f, to be freed by the caller. Only a regular file is read. On an error *f is NULL. */
NB_API nb_code nb_file_load(const char *path, const nb_allocator *allocator, nb_file **f,
                            nb_reason *why);

/* ---- npy and npz ----------------------------------------------------------------------------- */

/* One array. The entry's name is not used. Not BF16, which NumPy does not have. */
NB_API nb_code nb_npy_save(const nb_file_entry *entry, const char *path, nb_reason *why);
/* Into *f: one tensor, named "". Big-endian arrays are turned, and Fortran's order is brought to C's.
 * Strings, structures, complex numbers and Python objects are refused. */
NB_API nb_code nb_npy_load(const char *path, const nb_allocator *allocator, nb_file **f,
                           nb_reason *why);

/* An archive with each tensor as <name>.npy, stored without compression, as numpy.savez does. Texts of
 * the file are not written. Archives, and arrays in them, are shorter than 4 GiB. */
NB_API nb_code nb_npz_save(const nb_file *f, const char *path, nb_reason *why);
/* Members are checked against their CRC-32. Compressed ones (numpy.savez_compressed) are refused. */
NB_API nb_code nb_npz_load(const char *path, const nb_allocator *allocator, nb_file **f,
                           nb_reason *why);

/* ---- any file -------------------------------------------------------------------------------- */

/* The pieces one after the other as the file `path`, atomically (see above). A file that stands there is
 * replaced and keeps its permissions; a symbolic link is followed. Anything but a regular file is
 * refused. */
NB_API nb_code nb_file_write(const char *path, size_t n, const nb_piece *pieces, nb_reason *why);

#ifdef __cplusplus
}
#endif
#endif
