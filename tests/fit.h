/*
 * What the tests of fits share: a small network with everything that has a memory (batch norm, dropout,
 * an optimizer with state, an average of weights), and clouds of points to tell apart.
 */
#ifndef NABLA_TESTS_FIT_H
#define NABLA_TESTS_FIT_H

#include "counting.h"
#include "reason.h"

#include <math.h>

typedef struct learned {
    nb_params *p;
    nb_linear_layer hidden, out;
    nb_batch_norm_layer norm;
    bool plain; /* without batch norm and dropout */
    nb_optim *o;
    nb_average *average;
    nb_plateau plateau;
    /* for callbacks */
    int64_t stop_at, seen;
    int signal;
} learned;

static inline nb_var net(void *context, const nb_pass *m, nb_var x)
{
    const learned *l = context;
    nb_var h = nb_linear_apply(&l->hidden, m, x, NULL);
    if (!l->plain)
        h = nb_batch_norm_apply(&l->norm, m, h);
    h = nb_tanh(h);
    if (!l->plain)
        h = nb_dropout_apply(m, h, 0.2);
    return nb_linear_apply(&l->out, m, h, NULL);
}

static inline void make_learned(learned *l, nb_dtype d, bool plain, const nb_allocator *a)
{
    nb_params_options options = {.dtype = d};
    nb_rng r = nb_rng_seed(11);
    nb_reason why = {""};
    if (a)
        options.allocator = *a;
    *l = (learned){.p = nb_params_new(&options), .plain = plain};
    l->hidden = nb_linear_new(l->p, "hidden", 2, 8, NULL, &r);
    if (!plain)
        l->norm = nb_batch_norm_new(l->p, "norm", 8);
    l->out = nb_linear_new(l->p, "out", 8, 3, NULL, &r);
    l->o =
        nb_optim_new(l->p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = 0.02}, &why);
    l->average = nb_average_new(l->p, 0.9, &why);
    l->plateau = (nb_plateau){.rate = 0.02, .patience = 1, .factor = 0.5};
}

static inline void free_learned(learned *l)
{
    nb_average_free(l->average);
    nb_optim_free(l->o);
    nb_params_free(l->p);
}

static inline nb_dataset *blobs(nb_dtype d, int64_t rows, uint64_t seed, const nb_allocator *a)
{
    nb_dataset *made = NULL;
    nb_reason why = {""};
    const nb_code code = nb_make_blobs(
        &(nb_make){.rows = rows, .noise = 3, .seed = seed, .dtype = d, .allocator = a}, &made,
        &why);
    ck_assert_msg(!code, "%s", why.text);
    return made;
}

static inline nb_fit_spec spec_of(learned *l, const nb_dataset *train, const nb_dataset *valid)
{
    return (nb_fit_spec){.learner = {.params = l->p, .model = net, .context = l},
                         .train = train,
                         .valid = valid,
                         .batch = 16,
                         .seed = 5,
                         .optim = l->o,
                         .epochs = 4};
}

static inline void run_fit(const nb_fit_spec *s, nb_fit_result *r)
{
    nb_reason why = {""};
    const nb_code code = nb_fit(s, r, &why);
    ck_assert_msg(!code, "%s", why.text);
}

/* Bits of parameters, statistics, optimizer and average. */
static inline bool same_model(const learned *a, const learned *b)
{
    const size_t width = nb_params_dtype(a->p) == NB_F64 ? sizeof(double) : sizeof(float);
    const size_t n = (size_t)nb_params_size(a->p), s = (size_t)nb_params_statistic_size(a->p);
    bool same = n == (size_t)nb_params_size(b->p) &&
                !memcmp(nb_params_values(a->p), nb_params_values(b->p), n * width) &&
                (!s || !memcmp(nb_params_statistics(a->p), nb_params_statistics(b->p), s * 8)) &&
                nb_optim_steps(a->o) == nb_optim_steps(b->o) &&
                nb_average_count(a->average) == nb_average_count(b->average) &&
                !memcmp(nb_average_data(a->average), nb_average_data(b->average), n * 8);
    for (int32_t k = 0; k < nb_optim_states(a->o); k++)
        same = same &&
               !memcmp(nb_optim_state(a->o, k, NULL), nb_optim_state(b->o, k, NULL), n * width);
    return same;
}

static inline bool same_number(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

static inline bool same_metrics(const double *a, const double *b)
{
    bool same = true;
    for (int k = 0; k < NB_METRICS; k++)
        same = same && same_number(a[k], b[k]);
    return same;
}

/* All but seconds. */
static inline bool same_history(const nb_fit_result *a, const nb_fit_result *b)
{
    bool same = a->epochs == b->epochs && a->steps == b->steps && a->end == b->end &&
                a->best_epoch == b->best_epoch && same_number(a->best_loss, b->best_loss);
    for (int64_t k = 0; same && k < a->epochs; k++) {
        const nb_fit_epoch *x = &a->history[k], *y = &b->history[k];
        same = x->epoch == y->epoch && x->step == y->step && same_number(x->loss, y->loss) &&
               same_metrics(x->metric, y->metric) && same_number(x->valid_loss, y->valid_loss) &&
               same_metrics(x->valid_metric, y->valid_metric) && same_number(x->rate, y->rate) &&
               same_number(x->gradient, y->gradient);
    }
    return same;
}

#endif
