/*
 * Derivatives of scans are scans.
 *
 * Let s(t+1), y(t) = p(s(t), x(t), w). With G(t), g(t) the adjoints of s(t) and y(t) from elsewhere,
 * those of the states are a recurrence backwards in time,
 *
 *     a(T) = G(T),    a(t), d x(t), d w += vjp p (s(t), x(t), w; a(t+1), g(t)) + (G(t), 0, 0),
 *
 * whose step is a program too (derived.h). Its states are a; the states s have become each step's own, as
 * have x, g and G; w is fixed, and d w is a sum over time. Where p already had such a sum its adjoint is
 * fixed. Tangents go the way of the scan itself, along the states that it left:
 *
 *     t s(t+1), t y(t) = jvp p (s(t), x(t), w; t s(t), t x(t), t w).
 *
 * Both are the same kind of node again, so there are derivatives of every order. A scan backwards reads a
 * state at t + 1 and writes that at t; all else is the same.
 */
#include "program/derived.h"
#include "program/scan.h"
#include <nabla/ops.h>

/* The scan of a rule, by the inputs of s->p that are wanted and all states; NULL after an error. */
static nbi_scan *derive(nb_tape *t, const nbi_scan *s, nbi_derivation how, const bool *want)
{
    const nb_program *p = s->p;
    uint8_t *flags = nbi_scratch(t, p->n_in);
    for (size_t k = 0; flags && k < p->n_in; k++)
        flags[k] = nbi_scan_role(s, k) == NBI_SCAN_STATE ? NBI_WANTED | NBI_STATE
                   : want[k]                             ? NBI_WANTED
                                                         : 0;
    const nb_program *q = flags ? nbi_derived_of(p, how, flags) : NULL;
    nbi_scan *d = q ? nbi_scratch(t, sizeof *d + q->n_in + q->n_out) : NULL;
    if (!d) {
        nbi_no_memory(t, "scan");
        return NULL;
    }
    *d = (nbi_scan){q, s->steps, s->lanes, (how == NBI_DERIVE_BACK) != s->backward};
    size_t n = 0;
    for (; n < p->n_in; n++) /* the inputs of p */
        d->role[n] = nbi_scan_role(s, n) == NBI_SCAN_STATE ? NBI_SCAN_EACH : s->role[n];
    for (size_t k = 0; how == NBI_DERIVE_BACK && k < p->n_out; k++) /* adjoints of the outputs */
        d->role[n++] = s->role[p->n_in + k];
    for (size_t k = 0; how == NBI_DERIVE_JVP && k < p->n_in; k++) /* tangents of inputs */
        if (flags[k])
            d->role[n++] = s->role[k];
    while (n < q->n_in) /* adjoints of states, from elsewhere */
        d->role[n++] = NBI_SCAN_EACH;
    for (size_t k = 0; how == NBI_DERIVE_BACK && k < p->n_in; k++)
        if (flags[k])
            d->role[n++] = s->role[k];
    for (size_t k = 0; how == NBI_DERIVE_JVP && k < p->n_out; k++)
        d->role[n++] = s->role[p->n_in + k];
    return d;
}

/* The next output that is a state, from k on. */
static size_t next_state(const nbi_scan *s, size_t k)
{
    while (nbi_scan_role(s, s->p->n_in + k) != NBI_SCAN_STATE)
        k++;
    return k;
}

/* Where, in the array of all times of state output k, those before each step begin, and the one after all. */
static int64_t before(const nbi_scan *s, size_t k)
{
    return nbi_scan_place(s, k) + (s->backward ? nbi_scan_width(s, s->p->n_in + k) : 0);
}

static int64_t after_all(const nbi_scan *s, size_t k)
{
    return nbi_scan_place(s, k) + (s->backward ? 0 : s->steps * nbi_scan_width(s, s->p->n_in + k));
}

/* ---- over arrays ----------------------------------------------------------------------------- */

nb_code nbi_scan_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                const bool *add)
{
    const nbi_scan *s = c->state;
    const nb_program *p = s->p;
    nb_tape *t = c->tape;
    const int64_t size = (int64_t)nbi_element(t->dtype);
    bool *want = nbi_scratch(t, p->n_in);
    for (size_t k = 0; want && k < p->n_in; k++)
        want[k] = gin[k] != NULL;
    const nbi_scan *d = want ? derive(t, s, NBI_DERIVE_BACK, want) : NULL;
    const void **in = d ? nbi_scratch(t, d->p->n_in * sizeof *in) : NULL;
    nbi_scan_out *out = d ? nbi_scratch(t, d->p->n_out * sizeof *out) : NULL;
    if (!in || !out)
        return nbi_no_memory(t, "scan");
    const char *all = c->out->data, *seed = g->data;
    size_t n_out = 0, more = p->n_in + p->n_out;
    for (size_t k = 0, state = 0; k < p->n_in; k++) {
        const bool is_state = nbi_scan_role(s, k) == NBI_SCAN_STATE;
        in[k] = c->in[k].data;
        if (is_state) {
            state = next_state(s, state);
            in[k] = all + before(s, state) * size;
            in[more++] = seed + before(s, state) * size;
            state++;
        }
        if (is_state || want[k])
            out[n_out++] = (nbi_scan_out){.data = want[k] ? gin[k]->data : NULL,
                                          .dtype = want[k] ? gin[k]->dtype : t->dtype,
                                          .add = want[k] && add[k],
                                          .last = is_state};
    }
    for (size_t k = 0; k < p->n_out; k++)
        in[p->n_in + k] =
            seed + (nbi_scan_role(s, p->n_in + k) == NBI_SCAN_STATE ? after_all(s, k)
                                                                    : nbi_scan_place(s, k)) *
                       size;
    return nbi_scan_run(c, d, in, out);
}

/* ---- as graph code --------------------------------------------------------------------------- */

static nb_var flat(nb_var all, int64_t at, int64_t size)
{
    return nbi_scan_part(all, at, size, NB_SHAPE(size));
}

/* The states before each step, in a node's result or its adjoint. */
static nb_var states(const nbi_scan *s, nb_var all, size_t k)
{
    return flat(all, before(s, k), s->steps * nbi_scan_width(s, s->p->n_in + k));
}

static void reverse_operands(const nb_rule *r, const nbi_scan *s, nb_var *x)
{
    const nb_program *p = s->p;
    size_t more = p->n_in + p->n_out;
    for (size_t k = 0, state = 0; k < p->n_in; k++) {
        x[k] = r->in[k];
        if (nbi_scan_role(s, k) != NBI_SCAN_STATE)
            continue;
        state = next_state(s, state);
        x[k] = states(s, r->out, state);
        x[more++] = states(s, r->g, state);
        state++;
    }
    for (size_t k = 0; k < p->n_out; k++) {
        const int64_t width = nbi_scan_width(s, p->n_in + k);
        const int role = nbi_scan_role(s, p->n_in + k);
        x[p->n_in + k] = role == NBI_SCAN_STATE
                             ? flat(r->g, after_all(s, k), width)
                             : flat(r->g, nbi_scan_place(s, k),
                                    role == NBI_SCAN_EACH ? s->steps * width : width);
    }
}

nb_code nbi_scan_reverse(const nb_rule *r)
{
    const nbi_scan *s = r->state;
    const nb_program *p = s->p;
    const nbi_scan *d = derive(r->tape, s, NBI_DERIVE_BACK, r->want);
    nb_var *x = d ? nbi_scratch(r->tape, d->p->n_in * sizeof *x) : NULL;
    if (!x)
        return nbi_no_memory(r->tape, "scan");
    reverse_operands(r, s, x);
    const nb_var all = nbi_scan_apply(r->tape, d, x);
    bool done = nb_ok(all);
    for (size_t k = 0, out = 0; k < p->n_in && done; k++) {
        const bool state = nbi_scan_role(s, k) == NBI_SCAN_STATE;
        if (r->want[k])
            r->d[k] = nbi_scan_part(all, state ? after_all(d, out) : nbi_scan_place(d, out),
                                    nb_size(r->in[k]), nb_shape_of(r->in[k]));
        done = !r->want[k] || nb_ok(r->d[k]);
        out += state || r->want[k];
    }
    return done ? NB_OK : r->tape->code;
}

nb_code nbi_scan_tangent(const nb_rule *r)
{
    const nbi_scan *s = r->state;
    const nb_program *p = s->p;
    const nbi_scan *d = derive(r->tape, s, NBI_DERIVE_JVP, r->want);
    nb_var *x = d ? nbi_scratch(r->tape, d->p->n_in * sizeof *x) : NULL;
    if (!x)
        return nbi_no_memory(r->tape, "scan");
    size_t n = p->n_in;
    for (size_t k = 0, state = 0; k < p->n_in; k++) {
        const bool is_state = nbi_scan_role(s, k) == NBI_SCAN_STATE;
        x[k] = r->in[k];
        if (is_state) {
            state = next_state(s, state);
            x[k] = states(s, r->out, state);
            state++;
        }
        if (r->want[k])
            x[n++] = r->t[k];
        else if (is_state)
            x[n++] = nb_zeros(r->tape, NB_SHAPE(nbi_scan_width(s, k)));
    }
    r->d[0] = nbi_scan_apply(r->tape, d, x);
    return nb_ok(r->d[0]) ? NB_OK : r->tape->code;
}
