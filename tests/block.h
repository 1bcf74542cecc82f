/*
 * A function and blocks of seeds and directions that go through it: by nb_vjp and nb_jvp, and one by
 * one by the backward and the forward sweep.
 */
#ifndef NABLA_TESTS_BLOCK_H
#define NABLA_TESTS_BLOCK_H

#include "matrix.h"

enum { SEEDS = 11, MOST = 24 }; /* one block, and part of another */

/* A function with the block that is pushed or pulled through it. */
typedef struct trial {
    nb_tape *t;
    size_t n_in, n_out;
    nb_var in[MOST], out[MOST];
    double *memory, *at_in[2][MOST],
        *at_out[2][MOST]; /* [SEEDS, elements]: the block's, one by one */
} trial;

static inline double *lay_out(size_t n, const nb_var *x, double *p, double **at)
{
    for (size_t k = 0; k < n; p += SEEDS * (size_t)nb_size(x[k++]))
        at[k] = p;
    return p;
}

static inline void open_trial(trial *c)
{
    size_t elements = 0;
    for (size_t k = 0; k < c->n_in; k++)
        elements += (size_t)nb_size(c->in[k]);
    for (size_t k = 0; k < c->n_out; k++)
        elements += (size_t)nb_size(c->out[k]);
    double *p = c->memory = doubles(2 * SEEDS * elements + 1);
    for (int which = 0; which < 2; which++) {
        p = lay_out(c->n_in, c->in, p, c->at_in[which]);
        p = lay_out(c->n_out, c->out, p, c->at_out[which]);
    }
}

/* Numbers of either sign, and zeros: in all of a lane now and then, and here and there. */
static inline void draw(size_t n, const nb_var *x, double **at, nb_rng *r)
{
    for (size_t k = 0; k < n; k++)
        for (size_t l = 0; l < SEEDS; l++) {
            const bool none = nb_rng_below(r, 4) == 0;
            const size_t size = (size_t)nb_size(x[k]);
            for (size_t j = 0; j < size; j++)
                at[k][l * size + j] =
                    none || nb_rng_below(r, 8) == 0 ? 0 : (double)(float)nb_rng_normal(r);
        }
}

static inline void lane(size_t n, const nb_var *x, double *const *at, size_t l, double **row)
{
    for (size_t k = 0; k < n; k++)
        row[k] = at[k] + l * (size_t)nb_size(x[k]);
}

/* How far two blocks are apart, relative to the largest number; 0 if they agree to the last bit. */
static inline double apart(size_t n, const nb_var *x, double *const *a, double *const *b)
{
    double most = 0, off = 0;
    for (size_t k = 0; k < n; k++)
        for (size_t j = 0; j < SEEDS * (size_t)nb_size(x[k]); j++) {
            if (a[k][j] == b[k][j] || (isnan(a[k][j]) && isnan(b[k][j])))
                continue;
            most = fmax(most, fabs(b[k][j]));
            off = fmax(off, fabs(a[k][j] - b[k][j]));
            if (isnan(a[k][j]) || isnan(b[k][j]))
                return (double)INFINITY;
        }
    return off > 0 ? off / most : 0;
}

/* The worst disagreement of the block of gradients with single sweeps. */
static inline double backward_apart(trial *c, nb_rng *r)
{
    double *seed[MOST], *row[MOST];
    draw(c->n_out, c->out, c->at_out[0], r);
    ck_assert_int_eq(nb_vjp(c->n_out, c->out, SEEDS, (const double *const *)c->at_out[0], c->n_in,
                            c->in, c->at_in[0]),
                     NB_OK);
    for (size_t l = 0; l < SEEDS; l++) {
        lane(c->n_out, c->out, c->at_out[0], l, seed);
        lane(c->n_in, c->in, c->at_in[1], l, row);
        nb_sweep s = {c->n_out, c->out, (const double *const *)seed, c->n_in, c->in, false};
        ck_assert_int_eq(nb_backward_with(&s), NB_OK);
        for (size_t k = 0; k < c->n_in; k++)
            ck_assert_int_eq(nb_read_grad(c->in[k], row[k], nb_size(c->in[k])), NB_OK);
    }
    return apart(c->n_in, c->in, c->at_in[0], c->at_in[1]);
}

static inline double forward_apart(trial *c, nb_rng *r)
{
    double *direction[MOST], *row[MOST];
    draw(c->n_in, c->in, c->at_in[0], r);
    ck_assert_int_eq(nb_jvp(c->n_in, c->in, SEEDS, (const double *const *)c->at_in[0], c->n_out,
                            c->out, c->at_out[0]),
                     NB_OK);
    for (size_t l = 0; l < SEEDS; l++) {
        lane(c->n_in, c->in, c->at_in[0], l, direction);
        lane(c->n_out, c->out, c->at_out[1], l, row);
        ck_assert_int_eq(nb_forward(c->n_in, c->in, (const double *const *)direction), NB_OK);
        for (size_t k = 0; k < c->n_out; k++)
            ck_assert_int_eq(nb_read_tangent(c->out[k], row[k], nb_size(c->out[k])), NB_OK);
    }
    return apart(c->n_out, c->out, c->at_out[0], c->at_out[1]);
}

static inline void agrees(trial *c, const char *name, double tol)
{
    nb_rng r = nb_rng_seed(7);
    open_trial(c);
    const double down = backward_apart(c, &r), up = forward_apart(c, &r);
    ck_assert_msg(down <= tol, "%s: gradients are %g apart", name, down);
    ck_assert_msg(up <= tol, "%s: tangents are %g apart", name, up);
    ck_assert_str_eq(nb_message(c->t), "");
    free(c->memory);
}

#endif
