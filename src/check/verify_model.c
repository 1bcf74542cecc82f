/*
 * A whole model as it is trained, as a subject: its parameters are moved where they are.
 *
 * The caller's memory is the input. Before each call it receives the numbers x, after it it is read
 * again, and at the end of the check it has the bits that it had. The loss lends the tape its
 * parameters and the places of their gradients; what the sweep leaves there is the claim, so that a
 * gradient that is never written, or written elsewhere, is found out too.
 */
#include "check/verify_graph.h"

#include "base/element.h"
#include <math.h>
#include <stdio.h>

typedef struct model {
    const nb_check_model_spec *spec;
    void *saved; /* the parameters' bytes, one after the other */
} model;

static size_t bytes_of(const nbi_verify *c, size_t b)
{
    return c->block[b].size * nbi_element(((const nbi_graph *)c->self)->dtype);
}

static bool record(nbi_verify *c, int k, const double *x, nb_var *y)
{
    const nbi_graph *g = c->self;
    const nb_check_model_spec *m = ((const model *)g->source)->spec;
    for (size_t b = 0; b < c->n_block; b++)
        for (size_t e = 0; e < c->block[b].size; e++) {
            void *p = m->parameter[b].data;
            if (g->dtype == NB_F64)
                ((double *)p)[e] = x[c->block[b].at + e];
            else
                ((float *)p)[e] = (float)x[c->block[b].at + e];
        }
    *y = m->loss(m->context, g->tape[k]);
    return nb_ok(*y);
}

static bool kept(nbi_verify *c, const double *x)
{
    const nbi_graph *g = c->self;
    const nb_check_model_spec *m = ((const model *)g->source)->spec;
    for (size_t b = 0; b < c->n_block; b++)
        for (size_t e = 0; e < c->block[b].size; e++) {
            const double v = x[c->block[b].at + e];
            if (nbi_element_at(g->dtype, m->parameter[b].data, (int64_t)e) != v && !isnan(v))
                return false;
        }
    return true;
}

/* What the sweep left in the caller's memory. */
static void gradient(nbi_verify *c, double *to)
{
    const nbi_graph *g = c->self;
    const nb_check_model_spec *m = ((const model *)g->source)->spec;
    for (size_t b = 0; b < c->n_block; b++)
        for (size_t e = 0; e < c->block[b].size; e++)
            to[c->block[b].at + e] = nbi_element_at(g->dtype, m->parameter[b].grad, (int64_t)e);
}

/* Saves the parameters and makes them the point; `back`: puts them back. */
static bool save(nbi_verify *c, model *m, bool back)
{
    const nb_dtype dtype = ((const nbi_graph *)c->self)->dtype;
    size_t at = 0;
    for (size_t b = 0; b < c->n_block; at += bytes_of(c, b), b++) {
        void *p = m->spec->parameter[b].data;
        if (bytes_of(c, b) && back)
            memcpy(p, (char *)m->saved + at, bytes_of(c, b));
        else if (bytes_of(c, b))
            memcpy((char *)m->saved + at, p, bytes_of(c, b));
    }
    if (back)
        return true;
    double *x = nbi_doubles(c, c->n);
    for (size_t b = 0; x && b < c->n_block; b++)
        for (size_t e = 0; e < c->block[b].size; e++)
            x[c->block[b].at + e] = nbi_element_at(dtype, m->spec->parameter[b].data, (int64_t)e);
    c->x = x;
    return x != NULL;
}

static bool lay_out(nbi_verify *c, const nb_check_model_spec *m)
{
    c->block = nbi_take(&c->work, (m->n_parameters + 1) * sizeof *c->block, NBI_ALIGN);
    if (!c->block)
        return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for %zu parameters", m->n_parameters);
    for (size_t b = 0; b < m->n_parameters; b++) {
        const nb_check_parameter *p = &m->parameter[b];
        const int64_t size = p->shape.rank < 0 ? 1 : nb_shape_size(p->shape);
        if (size < 0 || (size && (!p->data || !p->grad)))
            return nbi_check_fail(c, NB_ERR_ARGUMENT,
                                  "parameter %zu has no shape, no data or no gradient", b);
        c->block[b] = (nbi_block){p->name, p->shape, c->n, (size_t)size, b};
        if (__builtin_add_overflow(c->n, (size_t)size, &c->n))
            return nbi_check_fail(c, NB_ERR_OVERFLOW, "the parameters have too many elements");
    }
    c->n_block = m->n_parameters;
    return true;
}

nb_verdict nb_check_model(const nb_check_model_spec *spec, const nb_check_options *options,
                          nb_check_report *report)
{
    nbi_verify c;
    nb_check_report own;
    model m = {.spec = spec};
    nbi_graph g = {
        .kind = NBI_GRADIENT, .record = record, .kept = kept, .gradient = gradient, .source = &m};
    nbi_check_open(&c, options, report ? report : &own);
    c.self = &g;
    if (!spec || !spec->loss || (spec->n_parameters && !spec->parameter)) {
        nbi_check_fail(&c, NB_ERR_ARGUMENT, "check: the loss or the parameters are NULL");
        return nbi_check_close(&c);
    }
    g.dtype = spec->tape ? nb_tape_dtype(spec->tape) : c.o.dtype;
    if (spec->tape) {
        g.lent = true;
        g.tape[0] = spec->tape;
        g.start = nb_tape_mark(spec->tape);
    }
    if (lay_out(&c, spec)) {
        m.saved = nbi_doubles(&c, c.n);
        if (m.saved && save(&c, &m, false)) {
            if (nbi_graph_open(&c, &g))
                nbi_graph_run(&c, &g);
            save(&c, &m, true);
        }
    }
    nbi_graph_close(&g);
    return nbi_check_close(&c);
}
