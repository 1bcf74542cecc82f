/*
 * nabla/implicit.h: functions that are given by an equation.
 *
 * Where F(y, x) = 0 determines y, y is a function of x, whatever found it. Its gradient needs no
 * trace of the search: it is one linear solve at the solution. So y is recorded as a single node.
 *
 *     static nb_var kepler(void *context, nb_var y, const nb_var *x)      E - e sin E - M
 *     {
 *         return nb_sub(nb_sub(y, nb_mul(x[0], nb_sin(y))), x[1]);
 *     }
 *     nb_var E = nb_newton(kepler, NULL, M, 2, (nb_var[]){e, M}, NULL);
 *     nb_backward(E);                                        dE/de and dE/dM
 *
 * To any order: the solve is itself a node whose rule is a solve.
 */
#ifndef NABLA_IMPLICIT_H
#define NABLA_IMPLICIT_H

#include <nabla/tape.h>

#ifdef __cplusplus
extern "C" {
#endif

/* F(y, x), in the shape of y; or for nb_fixed_point f(y, x), the next y. Graph code, a pure function
 * of y and x[0] …: what varies and is not among these must not be used (an error). It is called
 * often, by sweeps too, on vars that stand for y and x, so it must not look for names or places. */
typedef nb_var (*nb_equation)(void *context, nb_var y, const nb_var *x);

/* How the linear systems in dF/dy are solved. */
typedef enum nb_solver {
    NB_SOLVER_AUTO,  /* dense up to 100 unknowns */
    NB_SOLVER_DENSE, /* n derivatives make the matrix, then LU; the factors stay with the node */
    NB_SOLVER_KRYLOV /* GMRES with restarts: products with the matrix alone, which is never made */
} nb_solver;

typedef struct nb_solution {
    int iterations;
    double residual; /* the greatest |F|, or |f(y, x) - y| */
} nb_solution;

/* Everything that is 0 or NULL means a default. */
typedef struct nb_implicit_options {
    const char *name;     /* of the node; it must live as long as the node */
    size_t context_bytes; /* of context to copy; 0: context itself must live as long as the node */
    double tolerance;     /* of the residual; by default 1e-10, on a tape of floats 1e-5 */
    int iterations;       /* of the search, at most; by default 100, for fixed points 1000 */
    int anderson;         /* fixed points: earlier steps to combine, at most 16; 0: none */
    nb_solver solver;     /* of the linear systems */
    double linear_tolerance; /* Krylov: |A s - b| to |b|; by default 1e-10, for floats 1e-4 */
    int restart;             /* Krylov: products between restarts; by default 50 */
    int products;          /* Krylov: in all, at most; by default 10 times the unknowns, or 1000 */
    nb_solution *solution; /* filled by the call, also where it fails */
} nb_implicit_options;

/* y, of which only the value is looked at, as a function of x[0..n_x): the node of the solution of
 * F(y, x) = 0. y may be a tensor, a scalar or a plain number, the x of any kind; one x at least is
 * no plain number, as it tells the tape. It is an error (NB_ERR_ARGUMENT)
 * if F(y, x) is not 0 to tolerance. A dF/dy that is singular is an error of the sweep
 * (NB_ERR_SINGULAR, with the pivot), a solver that does not converge likewise (NB_ERR_CONVERGENCE,
 * with the residual). */
NB_API nb_var nb_implicit(nb_equation F, void *context, nb_var y, size_t n_x, const nb_var *x,
                          const nb_implicit_options *options);

/* Finds y by Newton's method from the value of y0, with the exact Jacobian, and steps halved until
 * |F| goes down; then as nb_implicit. Once within the tolerance it takes one more step, as each
 * doubles the digits. NB_ERR_CONVERGENCE if it does not get there, NB_ERR_SINGULAR if the Jacobian at
 * a step is. */
NB_API nb_var nb_newton(nb_equation F, void *context, nb_var y0, size_t n_x, const nb_var *x,
                        const nb_implicit_options *options);

/* Finds y = f(y, x) by iteration from the value of y0, with Anderson's acceleration if asked; then
 * as nb_implicit for F = y - f(y, x). */
NB_API nb_var nb_fixed_point(nb_equation f, void *context, nb_var y0, size_t n_x, const nb_var *x,
                             const nb_implicit_options *options);

#ifdef __cplusplus
}
#endif
#endif
