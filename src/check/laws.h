/*
 * The laws, from inside.
 *
 * A trial holds one op to the laws, example by example. All inputs of an example together are one
 * vector x of n numbers, input j's elements standing at [at[j], at[j + 1]); its result is a vector
 * of m numbers. So an example is a function R^n -> R^m, whatever the operands are, and J, the seed
 * u and the direction v of the laws are plain matrix and vectors.
 */
#ifndef NABLA_SRC_LAWS_H
#define NABLA_SRC_LAWS_H

#include "base/memory.h"
#include "tape/sample.h"
#include <nabla/check.h>

/* In what an example differs from the plain one. */
typedef enum nbi_twist {
    NBI_PLAIN,
    NBI_TWIN,     /* an input takes the values of an earlier one of its shape where they fit */
    NBI_SHARED,   /* and there it is that input */
    NBI_BORROWED, /* tensors are borrowed, with a gradient buffer that holds NaN before the sweep */
    NBI_LARGE,    /* input `victim` has a shape that hardly fits beside the others */
    NBI_DEEP,     /* the same with as many axes as there may be */
    NBI_FOREIGN,  /* input `victim` is of another tape */
    NBI_STALE     /* input `victim` was forgotten by a rewind */
} nbi_twist;

typedef struct nbi_trial {
    nb_sampler s; /* first: what replaces inputs finds the rest behind it */
    const nb_op *op;
    nb_tape *tape[2], *elsewhere; /* by dtype; and one that lends foreign vars */
    nbi_heap heap;
    nbi_arena work;
    nb_law_report *report;
    nb_code code;
    bool hook;     /* it means to differ from differences: all laws but that one */
    int k;         /* the example */
    uint64_t draw; /* which of its draws */
    nbi_twist twist;
    size_t victim;
    nb_var y; /* the result, and the vectors' sizes, of the last build */
    size_t n, m, at[NBI_SAMPLES + 1];
    bool fixed[NBI_SAMPLES], used[NBI_SAMPLES]; /* an integer parameter; an operand on y's way */
    size_t twin[NBI_SAMPLES];
    nb_array buffer[NBI_SAMPLES]; /* of the borrowed gradients */
    const double *u, *v;
    size_t accepted, refused; /* unfit shapes */
} nbi_trial;

/* ---- examples (example.c) -------------------------------------------------------------------- */

typedef enum nbi_built { NBI_BUILT, NBI_END, NBI_FAILED } nbi_built;

/* Builds the example behind whatever is on the tape, with its inputs at x + step * direction. The
 * result is in y, an error on the tape. */
nbi_built nbi_attempt(nbi_trial *c, nb_tape *t, double step, const double *direction);
/* The same on an empty tape; what fails there breaks the law of examples. */
bool nbi_build(nbi_trial *c, nb_tape *t, double step, const double *direction);
bool nbi_build_twisted(nbi_trial *c, nb_tape *t, nbi_twist twist);

/* n numbers of working memory, given back with the example; NULL when there is none. */
double *nbi_vector(nbi_trial *c, size_t n);
/* Entries of either sign and of size 0.5 to 1, exact in floats: a seed, or a direction in which the
 * integer parameters do not move. */
double *nbi_random_seed(nbi_trial *c);
double *nbi_random_direction(nbi_trial *c);

/* Of the last build: y [m], J^T u [n], J v [m]. False after an error on the tape. */
bool nbi_value(nbi_trial *c, double *y);
bool nbi_gradient(nbi_trial *c, bool accumulate, double *g);
bool nbi_read_gradients(nbi_trial *c, double *g);
bool nbi_tangent(nbi_trial *c, double *t);
/* Whether the op has derivative rules, and this example something to derive. */
bool nbi_derivable(const nbi_trial *c);

/* ---- verdicts (laws.c) ----------------------------------------------------------------------- */

void nbi_pass(nbi_trial *c, nb_law law, double worst);
void nbi_untested(nbi_trial *c, nb_law law);
void nbi_violate(nbi_trial *c, nb_law law, const char *format, ...) NBI_FORMAT(3, 4);
/* Something failed that should not: the tape's message tells why. No memory is nobody's fault. */
void nbi_violate_message(nbi_trial *c, nb_law law, const nb_tape *t);
/* "operand 1, element 4": entry i of the inputs followed by the result. */
typedef struct nbi_place {
    char text[64];
} nbi_place;
nbi_place nbi_place_of(const nbi_trial *c, size_t i);

/* What two computations of one number may differ by, relative to its terms: some digits less than
 * the tape's arithmetic has. */
double nbi_slack(const nb_tape *t);

/* |a - b| as a part of what is allowed: more than 1 is too much. Equal infinities and two NaNs
 * agree. */
double nbi_part(double a, double b, double allowed);

/* Two vectors that should be one, of the size of the inputs or of the result. */
typedef struct nbi_pair {
    const double *a, *b;
    const char *a_is, *b_is;
    bool of_result;
    const double *each; /* what entry i may differ by; NULL: what every entry may */
    double all;
} nbi_pair;

/* Passes or violates. */
bool nbi_agree(nbi_trial *c, nb_law law, const nbi_pair *p);

/* ---- differences (differences.c) ------------------------------------------------------------- */

enum { NBI_STAGES = 5 };

/* The derivative from central differences at steps h, h/2, …, and how far it may be off. */
typedef struct nbi_estimate {
    double value, error;
    double noise; /* of the differences it was made from */
} nbi_estimate;
nbi_estimate nbi_extrapolate(const double difference[NBI_STAGES]);
/* From row i - 1 of Neville's table, row [i], makes row i, which begins with value. Returns its end. */
double nbi_neville(double *row, int i, double value);
/* As nbi_extrapolate, from fewer stages, where difference i is off by 2^i noise besides: the entry whose error
 * and noise together are least. */
nbi_estimate nbi_extrapolate_noisy(int stages, const double *difference, double noise);

/* ---- the laws -------------------------------------------------------------------------------- */

void nbi_law_differences(nbi_trial *c);
void nbi_law_transpose(nbi_trial *c, nb_tape *t);
void nbi_law_second_order(nbi_trial *c);
void nbi_law_graph(nbi_trial *c, nb_tape *t);
void nbi_law_accumulation(nbi_trial *c, nb_tape *t);
void nbi_law_refusal(nbi_trial *c);
/* Values and gradients on `other`, whose arithmetic has this unit, against those on `reference`. */
void nbi_law_precision(nbi_trial *c, nb_tape *reference, nb_tape *other, double unit);

/* The last law alone, between two tapes: what a test of instruction sets needs. */
nb_code nbi_check_precision(const nb_op *op, nb_tape *reference, nb_tape *other, double unit,
                            nb_law_report *report);

/* Holds a hook on adjoints to all laws but that of differences, which it breaks on purpose. */
nb_code nbi_check_hook(const nb_op *op, nb_law_report *report);

#endif
