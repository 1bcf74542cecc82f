/*
 * What the tests of optimizers share: two parameters in two groups, gradients that are a function of element
 * and step, and a step that must succeed.
 */
#ifndef NABLA_TESTS_OPTIM_H
#define NABLA_TESTS_OPTIM_H

#include "counting.h"

#include <math.h>

enum { N = 203 };

static const double rate = 0.01;

static inline double get(const void *a, int d, int64_t i)
{
    return d == NB_F64 ? ((const double *)a)[i] : (double)((const float *)a)[i];
}

static inline void set(void *a, int d, int64_t i, double x)
{
    if (d == NB_F64)
        ((double *)a)[i] = x;
    else
        ((float *)a)[i] = (float)x;
}

/* Parameters a [3], b [n - 3] in group "head"; 0.1 i - 1, 1 and on. */
static inline nb_params *params_of(int d, int64_t n, const nb_allocator *a)
{
    nb_params_options o = {.dtype = (nb_dtype)d};
    if (a)
        o.allocator = *a;
    nb_params *p = nb_params_new(&o);
    nb_params_add(p, "a", NB_SHAPE(3), NULL, NULL);
    nb_params_group(p, "head");
    nb_params_add(p, "b", NB_SHAPE(n - 3), NULL, NULL);
    for (int64_t i = 0; i < n; i++)
        set(nb_params_values(p), d, i, 0.01 * (double)i - 1);
    ck_assert_ptr_nonnull(nb_params_grads(p));
    return p;
}

static inline nb_optim *optim_of(nb_params *p, nb_update_id id, double r)
{
    nb_reason why = {""};
    nb_optim *o = nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(id), .rate = r}, &why);
    ck_assert_msg(o != NULL, "%s", why.text);
    return o;
}

static inline double gradient(int64_t i, int t)
{
    return i % 11 == 0 ? 0 : sin(3.7 * (double)i + 1.3 * t) * (i % 5 == 0 ? 30 : 0.3);
}

static inline void put_gradients(nb_params *p, int d, int t)
{
    for (int64_t i = 0; i < nb_params_size(p); i++)
        set(nb_params_grads(p), d, i, gradient(i, t));
}

static inline void ok(nb_optim *o)
{
    nb_reason why = {""};
    const nb_code code = nb_optim_step(o, &why);
    ck_assert_msg(code == NB_OK, "%s", why.text);
}

#endif
