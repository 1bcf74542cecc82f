/*
 * nabla/base.h: the words that every other header uses: status codes, element types, shapes,
 * the allocator hook and the random number generator.
 *
 * Nothing here knows of a tape. A shape is a small struct passed by value:
 *
 *     nb_shape s = NB_SHAPE(32, 784);        rank 2
 *     nb_shape p = NB_POINT;                 rank 0: a tensor of one element without axes
 *
 * Storage is dense and row-major: the last axis varies fastest.
 */
#ifndef NABLA_BASE_H
#define NABLA_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NB_API           __attribute__((visibility("default")))
#define NBI_FORMAT(a, b) __attribute__((format(printf, a, b)))
#else
#define NB_API
#define NBI_FORMAT(a, b)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status ---------------------------------------------------------------------------------- */

/* code, name, what it means: the one map of errors */
#define NB_CODES(X)                                                                     \
    X(NB_OK, "ok", "no error")                                                          \
    X(NB_ERR_ARGUMENT, "argument", "an argument is NULL or out of its range")           \
    X(NB_ERR_HANDLE, "handle", "a var is stale, of another tape, or not a var at all")  \
    X(NB_ERR_SHAPE, "shape", "the shapes of the operands do not fit the operation")     \
    X(NB_ERR_AXIS, "axis", "an axis does not exist or is named twice")                  \
    X(NB_ERR_INDEX, "index", "an index lies outside its axis")                          \
    X(NB_ERR_OVERFLOW, "overflow", "a product of sizes does not fit the address space") \
    X(NB_ERR_EMPTY, "empty", "no elements: a reduction without identity, a data set")   \
    X(NB_ERR_SEED, "seed", "backward from a tensor needs a seed")                       \
    X(NB_ERR_GRADIENT, "gradient", "an operation on the way has no derivative rule")    \
    X(NB_ERR_MEMORY, "memory", "the allocator had no memory")                           \
    X(NB_ERR_LIMIT, "limit", "a limit was reached: node ids, or the tape's memory cap") \
    X(NB_ERR_CALLBACK, "callback", "a function supplied by the caller failed")          \
    X(NB_ERR_CONVERGENCE, "convergence", "an iteration did not converge")               \
    X(NB_ERR_ANOMALY, "anomaly", "a value or gradient is not finite")                   \
    X(NB_ERR_DOMAIN, "domain", "the operand lies where the operation is not defined")   \
    X(NB_ERR_SINGULAR, "singular", "a matrix is singular, or not positive definite")    \
    X(NB_ERR_LAW, "law", "an operation breaks a law that every operation obeys")        \
    X(NB_ERR_GUARD, "guard", "a lane left the branches that were recorded")             \
    X(NB_ERR_THREAD, "thread", "not all threads of a pool could be started")            \
    X(NB_ERR_FILE, "file", "a file could not be opened, read or written")               \
    X(NB_ERR_FORMAT, "format", "the contents of a file are not what they should be")

#define NBI_CODE(code, name, text) code,
typedef enum nb_code { NB_CODES(NBI_CODE) NBI_CODES } nb_code;
#undef NBI_CODE

/* "shape", "memory", …; never NULL */
NB_API const char *nb_code_name(nb_code code);
/* one sentence on what the code means; never NULL */
NB_API const char *nb_code_text(nb_code code);

/* Why a call failed, in words. Functions of whatever has no tape to keep its message take a pointer to
 * one; it may be NULL. It is written only when they fail. */
typedef struct nb_reason {
    char text[240];
} nb_reason;

/* ---- element types and shapes ---------------------------------------------------------------- */

typedef enum nb_dtype { NB_F64, NB_F32 } nb_dtype;

#define NB_MAX_RANK 8

typedef struct nb_shape {
    int rank; /* 0 to NB_MAX_RANK; -1 marks a scalar node, which has no shape */
    int64_t dims[NB_MAX_RANK];
} nb_shape;

/* The axes that a reduction works on; negative ones count from the last. */
typedef struct nb_axes {
    int count; /* -1: all axes */
    int axis[NB_MAX_RANK];
} nb_axes;

/* Builders behind the macros. A count beyond NB_MAX_RANK gives rank NB_MAX_RANK + 1, which every
 * operation refuses with a message. */
static inline nb_shape nb_shape_make(size_t rank, const int64_t *dims)
{
    nb_shape s;
    size_t i;
    s.rank = rank > NB_MAX_RANK || (rank && !dims) ? NB_MAX_RANK + 1 : (int)rank;
    for (i = 0; i < NB_MAX_RANK; i++)
        s.dims[i] = s.rank <= NB_MAX_RANK && i < rank ? dims[i] : 0;
    return s;
}
NB_API nb_axes nb_axes_make(size_t count, const int *axes);

/* The number of elements, or -1 if a dimension is negative or the product overflows. */
NB_API int64_t nb_shape_size(nb_shape shape);
NB_API bool nb_shape_equal(nb_shape a, nb_shape b);
/* "[32 16]" into text, of at least NB_SHAPE_TEXT bytes; "scalar" for rank -1. Returns text. */
enum { NB_SHAPE_TEXT = 24 * (NB_MAX_RANK + 1) };
NB_API char *nb_shape_text(char *text, nb_shape shape);

#ifdef __cplusplus
} /* extern "C" */
#include <initializer_list>
static inline nb_shape nbi_shape_list(std::initializer_list<int64_t> d)
{
    return nb_shape_make(d.size(), d.begin());
}
static inline nb_axes nbi_axes_list(std::initializer_list<int> a)
{
    return nb_axes_make(a.size(), a.begin());
}
#define NB_SHAPE(...) nbi_shape_list({__VA_ARGS__})
#define NB_AXES(...)  nbi_axes_list({__VA_ARGS__})
#define NB_POINT      nbi_shape_list({})
#define NB_ALL        nb_axes_make((size_t)-1, NULL)
extern "C" {
#else
#define NB_SHAPE(...) \
    nb_shape_make(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})
#define NB_AXES(...) nb_axes_make(sizeof((int[]){__VA_ARGS__}) / sizeof(int), (int[]){__VA_ARGS__})
#define NB_POINT     ((nb_shape){0, {0}})
#define NB_ALL       ((nb_axes){-1, {0}})
#endif

/* ---- memory ---------------------------------------------------------------------------------- */

/* All memory goes through one function. resize(ctx, NULL, 0, n) allocates, resize(ctx, p, n, 0)
 * frees and returns NULL, anything else grows or shrinks as realloc does. It returns memory
 * aligned for any type, or NULL when there is none, in which case p stays as it was.
 * A zeroed struct means the default: malloc for small blocks, huge pages for large ones. */
typedef struct nb_allocator {
    void *(*resize)(void *ctx, void *p, size_t old_size, size_t new_size);
    void *ctx;
} nb_allocator;

/* Bytes somewhere. */
typedef struct nb_piece {
    const void *data;
    size_t size;
} nb_piece;

/* Calls a's resize, or the default one if a is NULL or zeroed. */
NB_API void *nb_resize(const nb_allocator *a, void *p, size_t old_size, size_t new_size);

/* ---- random numbers -------------------------------------------------------------------------- */

/* xoshiro256++: an explicit, copyable state, the same sequence on every machine. */
typedef struct nb_rng {
    uint64_t s[4];
} nb_rng;

NB_API nb_rng nb_rng_seed(uint64_t seed);
NB_API uint64_t nb_rng_bits(nb_rng *r);
NB_API double nb_rng_uniform(nb_rng *r);             /* in [0, 1) */
NB_API double nb_rng_normal(nb_rng *r);              /* mean 0, variance 1 */
NB_API uint64_t nb_rng_below(nb_rng *r, uint64_t n); /* in [0, n), unbiased; 0 if n is 0 */

#ifdef __cplusplus
}
#endif
#endif
