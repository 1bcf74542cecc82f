/*
 * Scans, from inside: what the operation (scan.c), its rules (scan_rules.c) and the loop over time
 * (scan_run.c) share.
 *
 * A scan runs a program over `steps` steps, forwards or backwards in time, in lanes. What an argument
 * is in it:
 *
 *                input                              output
 *     STATE      the state before the step          and after it: the i-th goes with the i-th input
 *     EACH       each step's own                    each step's own
 *     FIXED      the same in all steps              the sum over all steps
 *
 * A uniform input is one value for all lanes, a uniform output is the sum over them. Arrays are dense,
 * [time, lanes, count], without what an argument does not have. The states of all times are one array
 * of steps + 1, in the order of time: a step t leads from entry t to t + 1, or back.
 */
#ifndef NABLA_SRC_SCAN_H
#define NABLA_SRC_SCAN_H

#include "program/program.h"
#include "tape/sample.h"
#include "tape/tape.h"

enum { NBI_SCAN_STATE, NBI_SCAN_EACH, NBI_SCAN_FIXED, NBI_SCAN_ROLE = 3, NBI_SCAN_UNIFORM = 4 };

/* The state of a node. */
typedef struct nbi_scan {
    const nb_program *p;
    int64_t steps, lanes;
    bool backward;
    uint8_t role[]; /* of inputs, then outputs */
} nbi_scan;

static inline int nbi_scan_role(const nbi_scan *s, size_t k) { return s->role[k] & NBI_SCAN_ROLE; }

static inline const nbi_argument *nbi_scan_argument(const nbi_scan *s, size_t k)
{
    return k < s->p->n_in ? &s->p->in[k] : &s->p->out[k - s->p->n_in];
}

/* Elements of argument k (inputs, then outputs) at one time. */
static inline int64_t nbi_scan_width(const nbi_scan *s, size_t k)
{
    const int64_t count = (int64_t)nbi_scan_argument(s, k)->count;
    return s->role[k] & NBI_SCAN_UNIFORM ? count : count * s->lanes;
}

/* Where an output goes. */
typedef struct nbi_scan_out {
    void *data; /* NULL: nowhere */
    nb_dtype dtype;
    bool add;
    bool last; /* of a state: not those of all times, but the one after all steps */
} nbi_scan_out;

/* Runs all steps. in[k] is in the tape's type. In scratch, which the caller gives back. An error is on
 * the tape. */
nb_code nbi_scan_run(const nb_call *c, const nbi_scan *s, const void *const *in,
                     const nbi_scan_out *out);

/* The place of output k in the vector of all; k = n_out: their number. */
int64_t nbi_scan_place(const nbi_scan *s, size_t k);
/* Records a node with a copy of s. */
nb_var nbi_scan_apply(nb_tape *t, const nbi_scan *s, const nb_var *x);
/* Elements [at, at + size) of a vector, in a shape; a scalar for rank -1. */
nb_var nbi_scan_part(nb_var all, int64_t at, int64_t size, nb_shape shape);

nb_code nbi_scan_reverse(const nb_rule *r);
nb_code nbi_scan_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                const bool *add);
nb_code nbi_scan_tangent(const nb_rule *r);

extern const nb_op nbi_op_scan;
nb_var nbi_scan_sample(nb_sampler *s, int k);

#endif
