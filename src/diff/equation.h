/*
 * An equation F(y, x) = 0 at a point, and linear systems in its Jacobian by y.
 */
#ifndef NABLA_SRC_DIFF_EQUATION_H
#define NABLA_SRC_DIFF_EQUATION_H

#include <nabla/implicit.h>
#include "tape/tape.h"

/* A square matrix, and once it is ready its LU factors. */
typedef struct nbi_factors {
    bool ready;
    int64_t n, stride;
    double *a;         /* [n stride] */
    int64_t *exchange; /* [n], of rows */
} nbi_factors;

typedef struct nbi_equation {
    const char *name;
    nb_equation fn;
    void *context;
    size_t n_x;
    bool fixed_point; /* F(y, x) = y - fn(y, x) */
    nb_solver solver; /* dense or Krylov */
    double tolerance, linear_tolerance;
    int iterations, anderson, restart, products;
    nbi_factors *factors; /* of dF/dy at the solution, filled when first needed; or NULL */
} nbi_equation;

/* F recorded at a point: what a linear system in A = dF/dy needs. */
typedef struct nbi_point {
    const nbi_equation *e;
    nb_tape *t;
    nb_var y, f;
    nb_var u, au;         /* A^T u as a graph of u, recorded when first needed */
    uint8_t *of_y, *of_u; /* the nodes that depend on y, and on u */
    nb_shape shape;
    size_t n;
} nbi_point;

/* F(y, x), checked to be alive and of y's shape; inert after an error. */
nb_var nbi_equation_at(const nbi_equation *e, nb_var y, const nb_var *x);
/* The greatest absolute value; NaN if one is. */
double nbi_greatest(size_t n, const double *values);
/* Whether the matrix of so many unknowns is made. */
bool nbi_is_dense(const nbi_equation *e, size_t n);

/* A constant of this shape with these values. */
nb_var nbi_constant_of(nb_tape *t, nb_shape shape, const double *values);

/* Records F at y's value, as a function of a new leaf, whatever the recording mode. */
nb_code nbi_point_open(nbi_point *p, const nbi_equation *e, nb_var y, const nb_var *x);

/* Solves A s = b, or A^T s = b, by the equation's solver. factors, if not NULL and ready, are used;
 * if not ready, filled. Arrays of n numbers; what it records it forgets. */
nb_code nbi_point_solve(nbi_point *p, bool transposed, const double *b, double *s,
                        nbi_factors *factors);

/* Room for the factors of an n by n matrix, from the arena; NULL after an error. */
nbi_factors *nbi_factors_new(nb_tape *t, nbi_arena *arena, size_t n, const char *who);
/* A matrix known by its products alone. */
typedef struct nbi_operator {
    nb_code (*product)(void *context, const double *v, double *out);
    void *context;
    size_t n;
} nbi_operator;

typedef struct nbi_gmres {
    double tolerance; /* |b - A s| to |b| */
    int restart, products;
    int used;        /* products, filled */
    double residual; /* relative, filled */
} nbi_gmres;

/* Solves A s = b from s = 0; whether it converged shows in g->residual. */
nb_code nbi_gmres_solve(nb_tape *t, const nbi_operator *a, const double *b, double *s,
                        nbi_gmres *g);

double nbi_dot_of_vectors(size_t n, const double *a, const double *b);

#endif
