/*
 * nabla/inline.h: the hot path of scalar recording, inlined into the caller.
 *
 * Not for reading first: nabla/ops.h says what the functions do. Recording a scalar op is three
 * stores: the value beside a cleared adjoint, two operand ids, one opcode: 25 bytes. Everything
 * unusual leaves this path through one comparison each: a tensor, a constant and a stale handle all
 * differ from the tape's epoch word; a full tape, an anomaly hunt and paused recording all show as
 * length >= limit. The function of the same name in the library then sorts it out.
 */
#ifndef NABLA_INLINE_H
#define NABLA_INLINE_H

#include <nabla/tape.h>
#include <string.h>

#if defined(__GNUC__)
#define NBI_INLINE static inline __attribute__((always_inline))
#else
#define NBI_INLINE static inline
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct nbi_cell {
    double value, adjoint;
} nbi_cell;

typedef struct nbi_args {
    uint32_t a, b;
} nbi_args;

/* The head of every tape. */
typedef struct nbi_hot {
    nbi_cell *cells;
    nbi_args *args;
    uint8_t *ops;
    uint32_t length;     /* nodes recorded */
    uint32_t limit;      /* of the fast path: the capacity, or 0 when a mode wants every op seen */
    uint32_t epoch;      /* of new handles; the two lowest bits are the tags below */
    uint32_t shared[16]; /* places of recent constants, by hash; looked at before they are used */
} nbi_hot;

/* Tags in a handle's epoch word. */
enum { NBI_TENSOR = 1u, NBI_QUIET = 2u, NBI_TAGS = 3u };

/* The opcodes that this header writes; the library asserts that they agree with its table. One more
 * is the variant whose second operand is a constant, two more the one whose first is. */
enum { NBI_INLINE_CONSTANT = 1 };
enum { NBI_INLINE_ADD = 16, NBI_INLINE_SUB = 19, NBI_INLINE_MUL = 22, NBI_INLINE_DIV = 25 };

NBI_INLINE nb_var nbi_handle(nb_tape *t, uint32_t index, uint32_t epoch)
{
    nb_var v;
    v.tape = t;
    v.index = index;
    v.epoch = epoch;
    return v;
}

/* A number travels in the two words that a node's handle uses for index and epoch. */
static inline nb_var nb_num(double value)
{
    uint32_t word[2];
    memcpy(word, &value, sizeof value);
    return nbi_handle(NULL, word[0], word[1]);
}

static inline nb_var nbi_num_f32(float value) { return nb_num((double)value); }

static inline nb_var nbi_same(nb_var x) { return x; }

NBI_INLINE bool nbi_fast1(nb_var a)
{
    const nbi_hot *h = (const nbi_hot *)a.tape;
    return h && a.epoch == h->epoch && h->length < h->limit;
}

NBI_INLINE bool nbi_fast2(nb_var a, nb_var b)
{
    const nbi_hot *h = (const nbi_hot *)a.tape;
    return h && a.tape == b.tape && ((a.epoch ^ h->epoch) | (b.epoch ^ h->epoch)) == 0 &&
           h->length < h->limit;
}

NBI_INLINE double nbi_at(nb_var x) { return ((const nbi_hot *)x.tape)->cells[x.index].value; }

/* Appends a node; the caller has checked that there is room. */
NBI_INLINE nb_var nbi_push(nb_tape *t, uint8_t op, uint32_t a, uint32_t b, double value)
{
    nbi_hot *h = (nbi_hot *)t;
    uint32_t i = h->length;
    nbi_cell cell = {value, 0};
    nbi_args args = {a, b};
    h->ops[i] = op;
    h->args[i] = args;
    h->cells[i] = cell;
    h->length = i + 1;
    return nbi_handle(t, i, h->epoch);
}

NBI_INLINE double nbi_number(nb_var v)
{
    double value;
    uint32_t word[2];
    word[0] = v.index;
    word[1] = v.epoch;
    memcpy(&value, word, sizeof value);
    return value;
}

NBI_INLINE uint32_t *nbi_shared_slot(nbi_hot *h, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return &h->shared[(bits * 0x9e3779b97f4a7c15u) >> 60];
}

/* Whether var a and number c can take the fast path: c has a node already, at *k. */
NBI_INLINE bool nbi_fast_constant(nb_var a, nb_var c, uint32_t *k)
{
    double value;
    nbi_hot *h = (nbi_hot *)a.tape;
    if (c.tape || !nbi_fast1(a))
        return false;
    value = nbi_number(c);
    *k = *nbi_shared_slot(h, value);
    return *k < h->length && h->ops[*k] == NBI_INLINE_CONSTANT &&
           !memcmp(&h->cells[*k].value, &value, sizeof value);
}

/* The real functions, for whatever is not the common case. */
NB_API nb_var nb_add(nb_var x, nb_var y);
NB_API nb_var nb_sub(nb_var x, nb_var y);
NB_API nb_var nb_mul(nb_var x, nb_var y);
NB_API nb_var nb_div(nb_var x, nb_var y);

#define NBI_INLINE_BINARY(name, op, code)                                              \
    NBI_INLINE nb_var nbi_inline_##name(nb_var x, nb_var y)                            \
    {                                                                                  \
        uint32_t k;                                                                    \
        if (nbi_fast2(x, y))                                                           \
            return nbi_push(x.tape, code, x.index, y.index, nbi_at(x) op nbi_at(y));   \
        if (nbi_fast_constant(x, y, &k))                                               \
            return nbi_push(x.tape, code + 1, x.index, k, nbi_at(x) op nbi_number(y)); \
        if (nbi_fast_constant(y, x, &k))                                               \
            return nbi_push(y.tape, code + 2, k, y.index, nbi_number(x) op nbi_at(y)); \
        return nb_##name(x, y);                                                        \
    }
NBI_INLINE_BINARY(add, +, NBI_INLINE_ADD)
NBI_INLINE_BINARY(sub, -, NBI_INLINE_SUB)
NBI_INLINE_BINARY(mul, *, NBI_INLINE_MUL)
NBI_INLINE_BINARY(div, /, NBI_INLINE_DIV)
#undef NBI_INLINE_BINARY

#ifdef __cplusplus
}
inline nb_var::nb_var(double number) { *this = nb_num(number); }
#endif
#endif
