/*
 * What the tests of programs share: a function of scalars, recorded on a tape at a point, and frozen.
 */
#ifndef NABLA_TESTS_PROGRAM_H
#define NABLA_TESTS_PROGRAM_H

#include "counting.h"

#include <math.h>
#include <nabla.h>

enum { PROGRAM_MOST = 32 };

/* Records f of n inputs. */
typedef nb_var recorded_fn(const nb_var *x, int which);

static inline nb_var program_record(nb_tape *t, recorded_fn *f, int which, size_t n,
                                    const double *at, nb_var *x)
{
    for (size_t k = 0; k < n; k++)
        x[k] = nb_input(t, NULL, at[k]);
    return f(x, which);
}

/* f frozen, with one argument "x" of n elements. */
static inline nb_program *program_freeze(recorded_fn *f, int which, size_t n, const double *at,
                                         bool strict)
{
    nb_var x[PROGRAM_MOST];
    nb_tape *t = nb_tape_new(NULL);
    nb_var y = program_record(t, f, which, n, at, x);
    nb_program *p =
        nb_freeze(&(nb_recipe){.n_in = 1,
                               .in = &(nb_argument){.name = "x", .count = n, .var = x},
                               .n_out = 1,
                               .out = &(nb_argument){.name = "y", .count = 1, .var = &y},
                               .strict = strict});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_tape_free(t);
    return p;
}

/* Equal up to `ulps` units of the last place, of the larger of the two and `scale`; NaN equals NaN. */
static inline bool program_near(double a, double b, double scale, double ulps)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    if (isinf(a) || isinf(b))
        return a == b;
    return fabs(a - b) <= ulps * 0x1p-52 * fmax(fmax(fabs(a), fabs(b)), scale) + 1e-320;
}

#endif
