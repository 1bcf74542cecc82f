/*
 * Recorded functions as subjects: gradients by the backward sweep, products by the forward one and
 * with the Hessian.
 *
 * A result of several elements is a scalar when weighted, <u, y>, with u as random as the seed says;
 * the sweep starts from u. Everything that is recorded is forgotten again, and an error on the tape
 * at any point ends the check with the tape's own message.
 */
#include "check/verify_graph.h"

#include <math.h>
#include <nabla/diff.h>
#include <nabla/ops.h>
#include <stdio.h>
#include <string.h>

static nbi_graph *graph_of(const nbi_verify *c) { return c->self; }

nb_check_place nbi_place_at(nb_tape *t, size_t i, int operand)
{
    nb_check_place p = {.found = true, .node = i, .operand = operand};
    const nb_info info = nb_inspect(nb_node(t, i));
    snprintf(p.op, sizeof p.op, "%s", info.op);
    snprintf(p.label, sizeof p.label, "%s", info.name ? info.name : "");
    return p;
}

/* ---- recording ------------------------------------------------------------------------------- */

static bool tape_failed(nbi_verify *c, const nb_tape *t)
{
    return nbi_check_fail(c, nb_status(t) ? nb_status(t) : NB_ERR_CALLBACK, "%s",
                          nb_status(t) ? nb_message(t)
                                       : "the function returned no var of its tape");
}

bool nbi_graph_record(nbi_verify *c, int k, const double *x, nb_var *y)
{
    nbi_graph *g = graph_of(c);
    nb_tape *t = g->tape[k];
    if (k == 0 && g->lent)
        nb_rewind(g->start);
    else
        nb_reset(t);
    if (!g->record(c, k, x, y) || nb_status(t) || y->tape != t || !nb_ok(*y))
        return tape_failed(c, t);
    if (g->seed && !nb_shape_equal(nb_shape_of(*y), g->shape))
        return nbi_check_fail(c, NB_ERR_CALLBACK, "the function's result changes its shape");
    c->wrote = c->wrote || (g->kept && !g->kept(c, x));
    return true;
}

bool nbi_graph_sweep(nbi_verify *c, nb_var y, double *to)
{
    nbi_graph *g = graph_of(c);
    const double *seed = g->seed;
    const nb_sweep s = {.n_out = 1, .out = &y, .seed = &seed};
    if (nb_backward_with(&s) != NB_OK)
        return tape_failed(c, y.tape);
    if (g->gradient && to)
        g->gradient(c, to);
    for (size_t k = 0; k < c->n_block && !g->gradient; k++) {
        g->path[k] = nb_has_grad(g->moved[k]);
        if (to && nb_read_grad(g->moved[k], to + c->block[k].at, (int64_t)c->block[k].size))
            return tape_failed(c, y.tape);
    }
    return true;
}

static bool read_result(nbi_verify *c, nb_var y, double *to)
{
    return nb_read(y, to, (int64_t)graph_of(c)->size) == NB_OK || tape_failed(c, y.tape);
}

static bool weigh(nbi_verify *c, nb_var y, double *to)
{
    nbi_graph *g = graph_of(c);
    if (!read_result(c, y, g->result))
        return false;
    *to = 0;
    for (size_t i = 0; i < g->size; i++)
        *to += g->size == 1 ? g->result[i] : g->seed[i] * g->result[i];
    return true;
}

/* ---- the subject ----------------------------------------------------------------------------- */

static bool value(nbi_verify *c, const double *x, double *to)
{
    nb_var y;
    const nbi_graph *g = graph_of(c);
    if (!nbi_graph_record(c, 0, x, &y))
        return false;
    return g->kind == NBI_GRADIENT  ? weigh(c, y, to)
           : g->kind == NBI_FORWARD ? read_result(c, y, to)
                                    : nbi_graph_sweep(c, y, to);
}

/* The parts of v by input. */
static const double *const *parts(nbi_verify *c, double *v)
{
    nbi_graph *g = graph_of(c);
    for (size_t k = 0; k < c->n_block; k++)
        g->part[k] = v + c->block[k].at;
    return (const double *const *)g->part;
}

static bool claim(nbi_verify *c, const double *x, double *y0, double *to)
{
    nb_var y;
    nbi_graph *g = graph_of(c);
    if (!nbi_graph_record(c, 0, x, &y))
        return false;
    bool done = true;
    switch (g->kind) {
    case NBI_GRADIENT: done = weigh(c, y, y0) && nbi_graph_sweep(c, y, to); break;
    case NBI_FORWARD:
        done = read_result(c, y, y0) && nb_forward(c->n_block, g->moved, parts(c, c->v)) == NB_OK &&
               nb_read_tangent(y, to, (int64_t)g->size) == NB_OK;
        break;
    case NBI_HESSIAN:
        done = nbi_graph_sweep(c, y, y0);
        const double *const *v = parts(c, c->v);
        double **out = g->part + c->n_block;
        for (size_t k = 0; k < c->n_block; k++)
            out[k] = to + c->block[k].at;
        const nb_var f =
            g->size == 1 ? y : nb_sum(nb_mul(y, nb_constant_tensor(y.tape, g->shape, g->seed)));
        done = done && nb_hvp(f, c->n_block, g->moved, v, out) == NB_OK;
        break;
    }
    c->wrote = c->wrote || (g->kept && !g->kept(c, x));
    return done || tape_failed(c, y.tape);
}

static bool forward(nbi_verify *c, const double *v, double *jv)
{
    nb_var y;
    nbi_graph *g = graph_of(c);
    if (!nbi_graph_record(c, 0, c->x, &y))
        return false;
    memcpy(c->again, v, c->n * sizeof *v);
    *jv = (double)NAN;
    if (nb_forward(c->n_block, g->moved, parts(c, c->again)) != NB_OK ||
        nb_read_tangent(y, g->result, (int64_t)g->size) != NB_OK)
        return true; /* there need be no forward rule */
    *jv = 0;
    for (size_t i = 0; i < g->size; i++)
        *jv += g->seed[i] * g->result[i];
    return true;
}

static bool no_path(nbi_verify *c, size_t i)
{
    return !graph_of(c)->path[nbi_block_of(c, i) - c->block];
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool room(nbi_verify *c, nbi_graph *g)
{
    g->path = nbi_take(&c->work, c->n_block + 1, 1);
    g->part = nbi_take(&c->work, (2 * c->n_block + 1) * sizeof *g->part, NBI_ALIGN);
    if (!g->path || !g->part)
        return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for %zu inputs", c->n_block);
    memset(g->path, 0, c->n_block + 1);
    return true;
}

static bool find_shape(nbi_verify *c, nbi_graph *g)
{
    nb_var y;
    g->seed = NULL;
    if (!nbi_graph_record(c, 0, c->x, &y))
        return false;
    g->shape = nb_shape_of(y);
    g->size = (size_t)nb_size(y);
    g->result = nbi_doubles(c, g->size);
    g->seed = nbi_doubles(c, g->size);
    if (!g->result || !g->seed)
        return false;
    nb_rng r = nb_rng_seed(c->o.seed + 1);
    for (size_t i = 0; i < g->size; i++) {
        const double u = nb_rng_uniform(&r) - 0.5;
        g->seed[i] = g->size == 1 ? 1 : (double)(float)(u + copysign(0.5, u));
    }
    for (int d = 0; d < g->shape.rank && c->n_sizes < 16; d++)
        c->sizes[c->n_sizes++] = g->shape.dims[d];
    return true;
}

bool nbi_graph_open(nbi_verify *c, nbi_graph *g)
{
    c->self = g;
    for (int k = 0; k < NBI_GRAPHS; k++)
        if (!g->tape[k])
            g->tape[k] = nb_tape_new(&(nb_options){.allocator = c->o.allocator, .dtype = g->dtype});
    for (int k = 0; k < NBI_GRAPHS; k++)
        if (!g->tape[k])
            return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for a tape");
    c->single = g->dtype == NB_F32;
    return room(c, g) && find_shape(c, g);
}

void nbi_graph_close(nbi_graph *g)
{
    if (g->lent && g->tape[0])
        nb_rewind(g->start);
    for (int k = g->lent ? 1 : 0; k < NBI_GRAPHS; k++)
        nb_tape_free(g->tape[k]);
}

void nbi_graph_run(nbi_verify *c, nbi_graph *g)
{
    static const nbi_subject gradient = {.value = value,
                                         .claim = claim,
                                         .swept = true,
                                         .forward = forward,
                                         .no_path = no_path,
                                         .bend = nbi_graph_bend,
                                         .not_finite = nbi_graph_not_finite,
                                         .localise = nbi_graph_localise};
    static const nbi_subject product = {
        .value = value, .claim = claim, .swept = true, .not_finite = nbi_graph_not_finite};
    static const nbi_subject model = {.value = value,
                                      .claim = claim,
                                      .swept = true,
                                      .bend = nbi_graph_bend,
                                      .not_finite = nbi_graph_not_finite,
                                      .localise = nbi_graph_localise};
    c->s = g->gradient ? &model : g->kind == NBI_GRADIENT ? &gradient : &product;
    c->product = g->kind != NBI_GRADIENT;
    c->m = g->kind == NBI_GRADIENT ? 1 : g->kind == NBI_FORWARD ? g->size : c->n;
    c->v = c->product ? nbi_doubles(c, c->n) : NULL;
    for (size_t i = 0; c->v && i < c->n; i++) {
        const double u = nb_rng_uniform(&c->rng) - 0.5;
        c->v[i] = (u + copysign(0.5, u)) * (c->x[i] != 0 ? fabs(c->x[i]) : 1);
    }
    if (!c->product || c->v)
        nbi_check_run(c);
}
