/*
 * What the tests of monitors share: a chain of layers whose statistics are plain to see.
 */
#ifndef NABLA_TESTS_MONITOR_H
#define NABLA_TESTS_MONITOR_H

#include "counting.h"
#include "reason.h"
#include <math.h>
#include <stdio.h>

static inline bool near(double x, double y, double tolerance)
{
    return fabs(x - y) <= tolerance * fabs(y);
}

/* ---- a chain of layers ----------------------------------------------------------------------- */

/* h1 = a x, h2 = b h1, loss = sum h2 with x = {1 -2}: the gradient of h2 is 1, of h1 b, of a b x. */
typedef struct chain {
    nb_params *p;
    nb_tape *t;
    nb_optim *o;
    nb_param a, b;
    nb_monitor *w;
} chain;

static inline chain chain_of(nb_dtype d, double a, double b)
{
    nb_reason why = {""};
    chain c = {.p = nb_params_new(&(nb_params_options){.dtype = d}),
               .t = nb_tape_new(&(nb_options){.dtype = d})};
    c.a = nb_params_add(c.p, "a", NB_SHAPE(1, 1), NULL, NULL);
    c.b = nb_params_add(c.p, "b", NB_SHAPE(1, 1), NULL, NULL);
    nb_params_write(c.p, c.a, &a, 1);
    nb_params_write(c.p, c.b, &b, 1);
    c.o = nb_optim_new(c.p, &(nb_optim_options){.rule = nb_update_of(NB_SGD), .rate = 0.01}, &why);
    ck_assert_msg(c.o != NULL, "%s", why.text);
    return c;
}

static inline void watch_with(chain *c, const nb_monitor_options *o)
{
    nb_reason why = {""};
    nb_monitor_free(c->w);
    c->w = nb_monitor_new(c->p, o, &why);
    ck_assert_msg(c->w != NULL, "%s", why.text);
}

static inline void chain_free(chain *c)
{
    nb_monitor_free(c->w);
    nb_optim_free(c->o);
    nb_tape_free(c->t);
    nb_params_free(c->p);
}

static inline nb_var record(const chain *c, const nb_pass *m)
{
    nb_var x = nb_constant_tensor(c->t, NB_SHAPE(2, 1), (double[]){1, -2});
    nb_var h = nb_monitor_watch(c->w, m, "h1", nb_matmul(x, nb_pass_var(m, c->a)));
    h = nb_monitor_watch(c->w, m, "h2", nb_matmul(h, nb_pass_var(m, c->b)));
    return nb_sum(nb_mul(h, nb_constant_tensor(c->t, NB_SHAPE(2, 1), (double[]){3, 4})));
}

static inline nb_code step_of(chain *c, int64_t step, bool *looked, nb_reason *why)
{
    const nb_mark start = nb_tape_mark(c->t);
    *looked = nb_monitor_begin(c->w, c->t, step);
    const nb_pass m = nb_training_pass(c->p, c->t, NULL);
    nb_code code = nb_backward(record(c, &m));
    ck_assert_msg(code == NB_OK, "%s", nb_message(c->t));
    code = nb_monitor_look(c->w, why);
    nb_rewind(start);
    return code == NB_OK ? nb_monitor_step(c->w, c->o, why) : code;
}

static inline bool step(chain *c, int64_t number)
{
    bool looked;
    nb_reason why = {""};
    fine(step_of(c, number, &looked, &why), &why);
    return looked;
}

static inline const nb_monitor_row *row_of(const chain *c, nb_monitor_kind kind, const char *name)
{
    const nb_monitor_row *row = nb_monitor_latest(c->w, kind, name);
    ck_assert_msg(row != NULL, "no %s of %s", nb_monitor_kind_name(kind), name);
    return row;
}

static inline bool raised(const nb_monitor_row *row, nb_monitor_flag flag)
{
    return row->flags >> flag & 1;
}

#endif
