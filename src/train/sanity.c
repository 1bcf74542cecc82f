/*
 * Sanity checks, on a copy of the learner.
 *
 * Overfitting moves the parameters and needs an optimizer, whose memory is the parameters' own; so the checks
 * work on parameters of the same names, shapes and values, in the same order, by whose indices layers find
 * them as before. The learner's are read once for each check and not written.
 *
 * The rows are drawn one from each of n equal stretches of the data, so that sorted data give a fair
 * sample and no list of all rows is needed.
 */
#include "train/sanity.h"

#include "base/reason.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

/* ---- the copy -------------------------------------------------------------------------------- */

static void copy_values(nb_params *to, const nb_params *from)
{
    if (from->params.size)
        memcpy(to->params.data, from->params.data,
               (size_t)from->params.size * nbi_width(from->dtype));
    if (from->statistics.size)
        memcpy(to->statistics.data, from->statistics.data,
               (size_t)from->statistics.size * sizeof(double));
}

static nb_params *copy_of(const nb_params *p, const nb_allocator *a)
{
    nb_params_options o = {.dtype = p->dtype};
    if (a)
        o.allocator = *a;
    nb_params *copy = nb_params_new(&o);
    for (int32_t i = 0; copy && i < p->params.count; i++) {
        const nb_param_info e = nb_params_info(p, i);
        nb_params_group(copy, e.group);
        nb_params_add(copy, e.name, e.shape, &(nb_param_options){.frozen = e.frozen}, NULL);
    }
    for (int32_t i = 0; copy && i < p->statistics.count; i++) {
        const nb_param_info e = nb_params_statistic_info(p, i);
        nb_params_add_statistic(copy, e.name, e.size, 0);
    }
    if (copy && nb_params_status(copy) == NB_OK && nbi_seal(copy)) {
        copy_values(copy, p);
        return copy;
    }
    nb_params_free(copy);
    return NULL;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* One row from each of n stretches. */
static nb_code draw_rows(nbi_sanity *w, int64_t n, nb_reason *why)
{
    const nb_dataset *d = w->all;
    n = n < d->rows ? n : d->rows;
    size_t bytes;
    int64_t *index = NULL;
    if (!__builtin_mul_overflow((size_t)n, sizeof *index, &bytes))
        index = nb_resize(w->o.allocator, NULL, 0, bytes);
    if (!index)
        return nbi_because(why, NB_ERR_MEMORY, "sanity: no memory for %lld rows", (long long)n);
    nb_rng r = nb_rng_seed(w->o.seed);
    for (int64_t k = 0; k < n; k++) {
        const int64_t first = d->rows / n * k + d->rows % n * k / n;
        const int64_t next = d->rows / n * (k + 1) + d->rows % n * (k + 1) / n;
        index[k] = first + (int64_t)nb_rng_below(&r, (uint64_t)(next - first));
    }
    nb_dataset *drawn = NULL, *prepared = NULL;
    nb_dataset part = *d;
    part.allocator = w->o.allocator;
    nb_code code = nb_dataset_take(&part, n, index, &drawn, why);
    nb_resize(w->o.allocator, index, bytes, 0);
    if (code == NB_OK && w->l.prep) {
        code = nb_prep_apply(w->l.prep, drawn, &prepared, why);
        nb_dataset_free(drawn);
        drawn = prepared;
    }
    nb_dataset_free(w->rows);
    w->rows = drawn;
    return code;
}

/* ---- all four -------------------------------------------------------------------------------- */

static nb_sanity_options with_defaults(const nb_sanity_options *o)
{
    nb_sanity_options all = o ? *o : (nb_sanity_options){0};
    all.chance_rows = all.chance_rows ? all.chance_rows : 256;
    all.rows = all.rows ? all.rows : 20;
    all.steps = all.steps ? all.steps : 1000;
    all.rate = all.rate != 0 ? all.rate : 0.01;
    all.small = all.small != 0 ? all.small : 0.01;
    all.gradient_rows = all.gradient_rows ? all.gradient_rows : 4;
    return all;
}

static nb_code check_arguments(const nb_learner *l, const nb_dataset *d, const nb_sanity_options *o,
                               const nb_sanity_report *report, nb_reason *why)
{
    if (!l || !l->params || !l->model || !d || !report)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "sanity: learner, parameters, model, data or report are NULL");
    if (nb_params_status(l->params) != NB_OK)
        return nbi_because(why, nb_params_status(l->params), "sanity: %s",
                           nb_params_message(l->params));
    if (!l->params->params.size)
        return nbi_because(why, NB_ERR_EMPTY, "sanity: there are no parameters");
    if (d->dtype != l->params->dtype)
        return nbi_because(why, NB_ERR_ARGUMENT, "sanity: the data are %s, the parameters %s",
                           d->dtype == NB_F64 ? "double" : "float",
                           d->dtype == NB_F64 ? "float" : "double");
    if (!l->loss && !d->label && !d->y)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "sanity: without labels and targets the learner needs a loss");
    if (o->chance_rows < 1 || o->rows < 1 || o->gradient_rows < 1 || o->steps < 1)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "sanity: %lld, %lld and %lld rows, %lld steps: not all above 0",
                           (long long)o->chance_rows, (long long)o->rows,
                           (long long)o->gradient_rows, (long long)o->steps);
    if (o->chance < 0 || (o->factor != 0 && !(o->factor > 1)) || !(o->small > 0) ||
        !(o->rate > 0 && isfinite(o->rate)) || !(o->l1 >= 0) || !(o->l2 >= 0))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "sanity: chance %g, factor %g, small %g, rate %g, l1 %g, l2 %g: "
                           "factor must be above 1, small and rate above 0, nothing negative",
                           o->chance, o->factor, o->small, o->rate, o->l1, o->l2);
    return nb_dataset_check(d, why);
}

nb_code nbi_sanity_end(nbi_sanity *w, nb_sanity_status status, double value, double expected,
                       const char *format, ...)
{
    *w->result = (nb_sanity_result){.status = status, .value = value, .expected = expected};
    va_list list;
    va_start(list, format);
    vsnprintf(w->result->text, sizeof w->result->text, format, list);
    va_end(list);
    return NB_OK;
}

static nb_code run(nbi_sanity *w, nb_sanity_report *report)
{
    nb_code code = draw_rows(w, w->o.chance_rows, w->why);
    w->chance = code == NB_OK ? nbi_guessing(w) : (double)NAN;
    const int64_t rows[] = {w->o.chance_rows, w->o.chance_rows, w->o.rows, w->o.gradient_rows};
    for (int k = 0; code == NB_OK && k < NB_SANITY_COUNT; k++) {
        w->result = &report->check[k];
        if (w->o.skip >> k & 1) {
            nbi_sanity_end(w, NB_SANITY_SKIPPED, (double)NAN, (double)NAN, "not asked for");
            continue;
        }
        copy_values(w->l.params, w->original);
        code = draw_rows(w, rows[k], w->why);
        code = code == NB_OK ? nbi_sanity_check[k](w) : code;
        nb_rewind(w->start);
    }
    return code;
}

nb_code nb_sanity(const nb_learner *l, const nb_dataset *d, const nb_sanity_options *options,
                  nb_sanity_report *report, nb_reason *why)
{
    const nb_sanity_options o = with_defaults(options);
    nb_code code = check_arguments(l, d, &o, report, why);
    if (code != NB_OK)
        return code;
    *report = (nb_sanity_report){0};
    nb_options tape = {.dtype = d->dtype};
    if (o.allocator)
        tape.allocator = *o.allocator;
    nbi_sanity w = {.l = *l, .original = l->params, .all = d, .o = o, .why = why};
    w.l.params = copy_of(l->params, o.allocator);
    w.t = nb_tape_new(&tape);
    if (w.l.params && w.t) {
        w.start = nb_tape_mark(w.t);
        code = run(&w, report);
    } else
        code = nbi_because(why, NB_ERR_MEMORY, "sanity: no memory for a copy of the parameters");
    nb_dataset_free(w.rows);
    nb_tape_free(w.t);
    nb_params_free(w.l.params);
    return code;
}

/* ---- reports --------------------------------------------------------------------------------- */

const char *nb_sanity_check_name(nb_sanity_check c)
{
#define NAME(id, name) name,
    static const char *const names[] = {NB_SANITY_CHECKS(NAME)};
#undef NAME
    return (unsigned)c < NB_SANITY_COUNT ? names[c] : "?";
}

bool nb_sanity_ok(const nb_sanity_report *r)
{
    bool ok = r != NULL;
    for (int k = 0; ok && k < NB_SANITY_COUNT; k++)
        ok = r->check[k].status != NB_SANITY_FAILED;
    return ok;
}

nb_code nb_sanity_print(FILE *to, const nb_sanity_report *r)
{
    static const char *const status[] = {"skipped", "passed", "FAILED"};
    if (!to || !r)
        return NB_ERR_ARGUMENT;
    for (int k = 0; k < NB_SANITY_COUNT; k++)
        fprintf(to, "%-8s  %-7s  %s\n", nb_sanity_check_name((nb_sanity_check)k),
                status[r->check[k].status], r->check[k].text);
    return ferror(to) ? NB_ERR_FILE : NB_OK;
}
