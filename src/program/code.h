/*
 * Code: a program laid out for execution.
 *
 * A block of lanes is computed at a time. Each value of a lane has a slot: one number per lane of the
 * block, side by side. An instruction works on whole slots, so what it costs to fetch and decode one is
 * paid once for a block. Slots, uniform values and accumulators share one workspace; instructions name them
 * by byte offset from its start.
 *
 *     uniform values   what depends on shared inputs only is computed once per row, by a list of
 *                      instructions of its own, in slots of NBI_UNIFORM bytes, all lanes equal
 *     exported ones    one element each: those that the lanes need
 *     slots            `block` bytes each
 *
 * An argument whose elements stand side by side, a lane next to a lane, is a row of slots already. If all
 * arguments do so, and the program needs few slots, they stay where they are: instructions read and write them
 * there, at their homes, in long blocks, and nothing is moved. Where a block is not full, slots of the workspace
 * stand in for homes.
 *
 * The instruction that matters is the sum: d = the sum over terms of +-x, +-a b, or +-chain(a, b). The
 * accumulator stays in registers, so that a sum of n products reads 2 n slots and writes one, where single
 * operations would read 4 n and write 2 n: it is loads and stores that lanes wait for. An `accumulate`
 * is a sum over the terms and over the lanes, too; it is how a result summed over the batch is formed,
 * without a slot. Terms of one kind come in runs, a run being one loop.
 */
#ifndef NABLA_SRC_CODE_H
#define NABLA_SRC_CODE_H

#include "kernels/elementwise.h"
#include "kernels/vmath.h"
#include "program/program.h"

enum {
    NBI_UNIFORM = 64,
    NBI_BLOCK = 512,
    NBI_LONG = 2048,  /* a block of code with homes */
    NBI_AHEAD = 3072, /* bytes from what is read to what memory is asked for */
    NBI_HOMES = 15,
    NBI_HOME = 27, /* in such code an offset is from home at >> NBI_HOME; 0 is the workspace */
};

/* Operands: V, a slot; U, a uniform value. */
#define NBI_BINARY_INSTRUCTIONS(X) \
    X(add) X(sub) X(mul) X(div) X(chain) X(min) X(max) X(lt) X(le) X(gt) X(ge) X(eq) X(ne)
enum nbi_instruction_code {
#define NBI_MODES(name) NBI_DO_##name##_vv, NBI_DO_##name##_vu, NBI_DO_##name##_uv,
    NBI_BINARY_INSTRUCTIONS(NBI_MODES)
#undef NBI_MODES
        NBI_DO_neg,
    NBI_DO_recip,
    NBI_DO_abs,
    NBI_DO_where,      /* a ? b : c, each at a step of its own */
    NBI_DO_fma,        /* a b + c, in one rounding, likewise */
    NBI_DO_row,        /* row `of`, by its kernel */
    NBI_DO_sincos,     /* the sine and, to `of`, the cosine */
    NBI_DO_sum,        /* of the runs [first, first + count) */
    NBI_DO_accumulate, /* the same, over the lanes, added to accumulator `of` */
    NBI_DO_load,  /* elements [first, first + count) of input argument `of` to the slots listed */
    NBI_DO_store, /* and to output argument `of` from them */
    NBI_DO_guard, /* a is not 0, or the lane has left */
    NBI_DO_end
};

typedef struct nbi_instruction {
    uint16_t code;
    uint8_t step[3]; /* of operands a, b, c: 1 a slot, 0 a uniform value */
    uint8_t arity;
    uint32_t of;
    uint32_t to, in[3];    /* offsets; nodes, while the code is being made */
    uint32_t first, count; /* runs; elements */
    uint32_t list; /* the elements' offsets, in the list of offsets; NBI_NOWHERE: not needed */
} nbi_instruction;

#define NBI_NOWHERE  UINT32_MAX
#define NBI_EXPORTED 0x80000000u /* in a store's list: an exported value */

/* Kinds of terms, each also with a minus: V or U alone; a product; the chain rule's product, which is 0
 * where its first operand is. */
enum nbi_term_kind {
    NBI_TERM_V,
    NBI_TERM_U,
    NBI_TERM_VV,
    NBI_TERM_VU,
    NBI_TERM_CHAIN_VV,
    NBI_TERM_CHAIN_VU,
    NBI_TERM_CHAIN_UV,
    NBI_TERM_MINUS = 8
};

typedef struct nbi_run {
    uint32_t kind, first, count; /* terms [first, first + count) */
} nbi_run;

typedef struct nbi_term_pair {
    uint32_t a, b;
} nbi_term_pair;

/* A list that grows. */
typedef struct nbi_list {
    void *at;
    size_t count, room, size; /* size: of an item */
} nbi_list;

/* What code is for. The flags are per input and output argument; homes are numbered from 1, per argument, inputs
 * first: 0 has none. An output in the place of an input has the home of that. */
typedef struct nbi_pattern {
    nb_dtype dtype;
    int64_t lanes; /* about so many */
    bool early;    /* inputs are read before anything is stored in their place */
    const uint8_t *shared, *summed;
    const uint8_t *home; /* NULL: there are none */
} nbi_pattern;

struct nbi_code {
    nbi_code *next;
    /* the pattern */
    nb_dtype dtype;
    uint32_t asked; /* bytes of a slot */
    bool early;
    uint8_t *shared, *summed, *home;
    nbi_list once, each; /* instructions: per row, per block */
    nbi_list runs, terms, offsets;
    nbi_list constants, exports; /* nbi_constant, nbi_export */
    uint32_t block;              /* bytes of a slot; there are homes if it is NBI_LONG */
    uint32_t stead;              /* where the slots are that stand in for homes */
    int64_t lanes;               /* of a block */
    size_t slots, accumulators, workspace;
    /* Per output element that is summed: its accumulator, or, for one that does not vary, an exported value
     * with the bit NBI_EXPORTED. */
    uint32_t *sum;
};

/* A number put into the workspace when it is made. */
typedef struct nbi_constant {
    double value;
    uint32_t to, count; /* elements */
} nbi_constant;

typedef struct nbi_export {
    uint32_t from, to;
} nbi_export;

/* The code for a pattern, made if need be; NULL if there is no memory. */
const nbi_code *nbi_code_for(const nb_program *p, const nbi_pattern *like);
/* The pattern that the program declares: n_in flags, then n_out. */
void nbi_flags_declared(const nb_program *p, uint8_t *flags);
void nbi_codes_free(nb_program *p);

/* Room for one more item, zeroed; NULL if there is no memory. */
void *nbi_list_add(nbi_heap *h, nbi_list *l);
void nbi_list_free(nbi_heap *h, nbi_list *l);

/* ---- making ---------------------------------------------------------------------------------- */

/* What select.c and assign.c hand on: a plain graph and what is wanted of it. */
typedef struct nbi_plan {
    const nb_program *p;
    const nbi_dag *d;
    const uint32_t *result, *guard;
    nbi_heap *heap;
    nbi_code *code;
    uint32_t *uses;  /* by node: operands, outputs and guards that refer to it; 0: not needed */
    uint8_t *varies; /* by node: not the same in all lanes */
    uint8_t *inside; /* by node: a term of its only user */
} nbi_plan;

/* Fills in the instructions, runs and terms, with nodes where offsets will be. */
bool nbi_select(nbi_plan *s);
/* Gives every node a place, and instructions and terms their offsets. */
bool nbi_assign(nbi_plan *s);

/* ---- execution ------------------------------------------------------------------------------- */

/* An argument as a row of a replay sees it: nb_lanes without zeros that mean something. */
typedef struct nbi_place {
    char *data;
    int64_t lane, element, row;
    const int64_t *index;
} nbi_place;

/* A block under way. */
typedef struct nbi_frame {
    const nbi_code *code;
    const nbi_row_kernels *kernels;
    const nbi_vmath *vmath;
    bool strict;               /* products are rounded before they are added */
    bool once;                 /* the list under way is that of uniforms */
    char *work;                /* the workspace */
    char *home[NBI_HOMES + 1]; /* of this block, if the code has homes; [0] is the workspace */
    char *sums;                /* accumulators: NBI_UNIFORM bytes of doubles each */
    const nbi_place *in, *out; /* per argument */
    uint8_t *left;             /* per lane of the replay, or NULL */
    bool some_left;
    int64_t lane, count; /* the block's first lane, and how many there are (1 to a block) */
    int64_t lanes;       /* of the row */
} nbi_frame;

/* Executes a list up to its end, in slots of `block` bytes. */
typedef void nbi_execute_fn(nbi_frame *f, const nbi_instruction *list, uint32_t block);
nbi_execute_fn *nbi_execute_choose(nbi_isa isa);

nbi_execute_fn nbi_execute_plain, nbi_execute_avx2, nbi_execute_avx512, nbi_execute_neon;

#endif
