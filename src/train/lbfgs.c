/*
 * L-BFGS: Newton's method with an inverse Hessian made of the last m steps s and changes y of the gradient.
 *
 * H is the one matrix that starts at gamma = (s y) / (y y), of the last pair, and is corrected by each pair
 * so that H y = s while it stays symmetric and, as long as s y > 0, positive definite. It is never formed:
 *
 *     q = g;  for pairs from last to first:  alpha = rho (s q),  q = q - alpha y        rho = 1 / (s y)
 *     q = gamma q;  from first to last:      q = q + (alpha - rho (y q)) s
 *
 * leaves q = H g. A pair without curvature (s y not well above 0) is skipped: Wolfe's conditions exclude
 * it, Armijo's alone do not. If the direction does not lead down, which is rounding, all pairs are
 * forgotten and -g is taken.
 */
#include "base/reason.h"
#include "ops/product.h"
#include "train/line_search.h"
#include "train/spans.h"

#include <float.h>
#include <math.h>
#include <string.h>

typedef struct search {
    nbi_line line;
    nb_lbfgs_options options;
    int64_t n;
    double *x, *g, *d;           /* x is the caller's */
    double *s, *y, *rho, *alpha; /* [history n], [history n], [history], [history] */
    int32_t pairs, next;         /* pairs there are; where the next one goes */
    int32_t iteration, flat;     /* flat: iterations in a row that changed f too little */
} search;

static double largest(int64_t n, const double *g)
{
    double most = 0;
    for (int64_t k = 0; k < n; k++)
        most = fmax(most, fabs(g[k]));
    return most;
}

static void add(int64_t n, double *to, double a, const double *x)
{
    for (int64_t k = 0; k < n; k++)
        to[k] += a * x[k];
}

/* d = -H g */
static void direct(search *w)
{
    const int64_t n = w->n;
    const int32_t m = w->options.history;
    for (int64_t k = 0; k < n; k++)
        w->d[k] = -w->g[k];
    for (int32_t k = 1; k <= w->pairs; k++) {
        const int32_t j = (w->next - k + m) % m;
        w->alpha[j] = w->rho[j] * nbi_dot(NB_F64, n, w->s + j * n, w->d);
        add(n, w->d, -w->alpha[j], w->y + j * n);
    }
    if (w->pairs) {
        const double *y = w->y + (w->next - 1 + m) % m * n;
        const double gamma = 1 / (w->rho[(w->next - 1 + m) % m] * nbi_dot(NB_F64, n, y, y));
        for (int64_t k = 0; k < n; k++)
            w->d[k] *= gamma;
    }
    for (int32_t k = w->pairs; k >= 1; k--) {
        const int32_t j = (w->next - k + m) % m;
        add(n, w->d, w->alpha[j] - w->rho[j] * nbi_dot(NB_F64, n, w->y + j * n, w->d),
            w->s + j * n);
    }
}

/* A direction that leads down, and the step to try first. */
static double set_out(search *w)
{
    direct(w);
    w->line.slope = nbi_dot(NB_F64, w->n, w->g, w->d);
    if (w->pairs && w->line.slope < 0 && isfinite(w->line.slope))
        return 1;
    const double most = largest(w->n, w->g);
    w->pairs = 0;
    for (int64_t k = 0; k < w->n; k++)
        w->d[k] = -w->g[k] / most;
    w->line.slope = nbi_dot(NB_F64, w->n, w->g, w->d);
    return fmin(1, most);
}

/* The line search's point becomes x. */
static void arrive(search *w)
{
    const int64_t n = w->n;
    const int32_t j = w->next;
    double *s = w->s + j * n, *y = w->y + j * n;
    for (int64_t k = 0; k < n; k++) {
        s[k] = w->line.there[k] - w->x[k];
        y[k] = w->line.gradient[k] - w->g[k];
    }
    const double sy = nbi_dot(NB_F64, n, s, y);
    if (sy > DBL_EPSILON * sqrt(nbi_dot(NB_F64, n, s, s)) * sqrt(nbi_dot(NB_F64, n, y, y)) &&
        isfinite(1 / sy)) {
        w->rho[j] = 1 / sy;
        w->next = (j + 1) % w->options.history;
        w->pairs += w->pairs < w->options.history;
    }
    const double fall = w->line.f - w->line.f_there;
    const double little = w->options.change * fmax(fabs(w->line.f_there), 1);
    w->flat = w->options.change > 0 && fall <= little ? w->flat + 1 : 0;
    memcpy(w->x, w->line.there, (size_t)n * sizeof *w->x);
    memcpy(w->g, w->line.gradient, (size_t)n * sizeof *w->g);
    w->line.f = w->line.f_there;
}

static nb_code failed(const search *w, nb_reason *why)
{
    if (w->line.code != NB_OK)
        return nbi_because(why, w->line.code, "lbfgs: the function returned \"%s\" at its call %d",
                           nb_code_name(w->line.code), (int)w->line.calls);
    return nbi_because(why, NB_ERR_CONVERGENCE,
                       "lbfgs: %s after %d iterations and %d calls; largest gradient %g",
                       w->iteration >= w->options.iterations ? "not converged"
                       : w->line.calls >= w->line.most       ? "no more calls allowed"
                                                             : "no step brings the function down",
                       (int)w->iteration, (int)w->line.calls, largest(w->n, w->g));
}

static nb_code search_all(search *w, nb_reason *why)
{
    if (!nbi_line_begin(&w->line))
        return failed(w, why);
    if (!isfinite(w->line.f_there))
        return nbi_because(why, NB_ERR_ANOMALY,
                           "lbfgs: the function or its gradient is not finite where it begins");
    memcpy(w->g, w->line.gradient, (size_t)w->n * sizeof *w->g);
    w->line.f = w->line.f_there;
    for (; largest(w->n, w->g) > w->options.gradient && w->flat < 2; w->iteration++) {
        if (w->iteration >= w->options.iterations)
            return failed(w, why);
        bool found = nbi_line_search(&w->line, w->options.search, set_out(w));
        if (!found && w->pairs && w->line.code == NB_OK) {
            w->pairs = 0;
            found = nbi_line_search(&w->line, w->options.search, set_out(w));
        }
        if (!found)
            return failed(w, why);
        arrive(w);
    }
    return NB_OK;
}

static nb_code settle(nb_lbfgs_options *o, nb_reason *why)
{
    o->history = o->history ? o->history : 10;
    o->iterations = o->iterations ? o->iterations : 200;
    const bool many = o->iterations > INT32_MAX / 20;
    o->calls = o->calls ? o->calls : many ? INT32_MAX : 20 * o->iterations;
    o->gradient = o->gradient != 0 ? o->gradient : 1e-8;
    if (o->history < 0 || o->iterations < 0 || o->calls < 0 || !(o->gradient > 0) ||
        !(o->change >= 0) || (unsigned)o->search >= NB_LINE_SEARCHES)
        return nbi_because(
            why, NB_ERR_ARGUMENT,
            "lbfgs: line search %d, history %d, iterations %d, calls %d, gradient %g, "
            "change %g: one is out of range",
            (int)o->search, (int)o->history, (int)o->iterations, (int)o->calls, o->gradient,
            o->change);
    return NB_OK;
}

/* Room for `arrays` arrays of n numbers, and the numbers per pair; 0 if there cannot be. */
static size_t bytes_for(int64_t n, int32_t history)
{
    size_t numbers, bytes;
    const size_t m = (size_t)history;
    if (__builtin_mul_overflow((size_t)n, 2 * m + 4, &numbers) ||
        __builtin_add_overflow(numbers, 2 * m, &numbers) ||
        __builtin_mul_overflow(numbers, sizeof(double), &bytes))
        return 0;
    return bytes;
}

nb_code nb_lbfgs(int64_t n, double *x, nb_objective_fn *f, void *context,
                 const nb_lbfgs_options *options, nb_lbfgs_result *result, nb_reason *why)
{
    search w = {.n = n, .x = x, .options = options ? *options : (nb_lbfgs_options){0}};
    if (result)
        *result = (nb_lbfgs_result){.f = (double)NAN, .gradient = (double)NAN};
    if (n < 1 || !x || !f)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "lbfgs: no function, no point to begin at, or %lld numbers in it",
                           (long long)n);
    nb_code code = settle(&w.options, why);
    if (code != NB_OK)
        return code;
    const int32_t m = w.options.history;
    const size_t bytes = bytes_for(n, m);
    if (!bytes)
        return nbi_because(why, NB_ERR_OVERFLOW, "lbfgs: the size of its memory overflows");
    double *block = nb_resize(w.options.allocator, NULL, 0, bytes);
    if (!block)
        return nbi_because(why, NB_ERR_MEMORY, "lbfgs: out of memory for %zu bytes", bytes);
    w.g = block;
    w.d = w.g + n;
    w.s = w.d + 3 * n;
    w.y = w.s + m * n;
    w.rho = w.y + m * n;
    w.alpha = w.rho + m;
    w.line = (nbi_line){.n = n,
                        .objective = f,
                        .context = context,
                        .x = x,
                        .d = w.d,
                        .most = w.options.calls,
                        .there = w.d + n,
                        .gradient = w.d + 2 * n};
    memset(w.d, 0, (size_t)n * sizeof *w.d);
    code = search_all(&w, why);
    if (result)
        *result = (nb_lbfgs_result){w.line.f, w.line.calls ? largest(n, w.g) : (double)NAN,
                                    w.iteration, w.line.calls};
    nb_resize(w.options.allocator, block, bytes, 0);
    return code;
}

/* ---- over parameters ------------------------------------------------------------------------- */

typedef struct model {
    nb_params *p;
    nb_loss_fn *f;
    void *context;
} model;

/* Between an array of the parameters and x, the elements that learn one after the other. */
static void spread(nb_params *p, const double *x)
{
    for (nbi_span s = {0}; nbi_span_next(p, &s);)
        for (int64_t k = 0; k < s.size; k++)
            nbi_store(p->params.data, p->dtype, s.offset + k, *x++);
}

static void collect(const nb_params *p, const void *from, double *x)
{
    for (nbi_span s = {0}; nbi_span_next(p, &s);)
        for (int64_t k = 0; k < s.size; k++)
            *x++ = nbi_load(from, p->dtype, s.offset + k);
}

static nb_code loss_at(void *context, const double *x, double *f, double *g)
{
    const model *m = context;
    spread(m->p, x);
    const nb_code code = m->f(m->context, f);
    if (code == NB_OK)
        collect(m->p, m->p->grads, g);
    return code;
}

nb_code nb_lbfgs_params(nb_params *p, nb_loss_fn *f, void *context, const nb_lbfgs_options *options,
                        nb_lbfgs_result *result, nb_reason *why)
{
    model m = {p, f, context};
    int64_t n = 0;
    if (!p || !f)
        return nbi_because(why, NB_ERR_ARGUMENT, "lbfgs: the parameters or the loss are NULL");
    if (nb_params_status(p) != NB_OK || !nbi_seal(p))
        return nbi_because(why, p->code ? p->code : NB_ERR_MEMORY, "lbfgs: %s",
                           nb_params_message(p));
    for (nbi_span s = {0}; nbi_span_next(p, &s);)
        n += s.size;
    if (!n)
        return nbi_because(why, NB_ERR_EMPTY, "lbfgs: there is no parameter that is not frozen");
    size_t bytes;
    const nb_allocator *a = options && options->allocator ? options->allocator : &p->allocator;
    double *x =
        __builtin_mul_overflow((size_t)n, sizeof *x, &bytes) ? NULL : nb_resize(a, NULL, 0, bytes);
    if (!x)
        return nbi_because(why, NB_ERR_MEMORY, "lbfgs: out of memory");
    nb_lbfgs_options o = options ? *options : (nb_lbfgs_options){0};
    o.allocator = a;
    collect(p, p->params.data, x);
    const nb_code code = nb_lbfgs(n, x, loss_at, &m, &o, result, why);
    spread(p, x);
    nb_resize(a, x, bytes, 0);
    return code;
}
