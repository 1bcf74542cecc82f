/*
 * Derivatives of a mapped program are mapped programs: see map.c.
 *
 * The programs are derived once and kept with the one they are of. Over arrays the computation is the same,
 * straight into the operands' adjoints.
 */
#include "program/derived.h"
#include "program/map.h"

/* The program of a rule. NULL after an error. */
static const nb_program *derived(nb_tape *t, const nb_program *p, nbi_derivation how,
                                 const bool *want)
{
    uint8_t *flags = nbi_scratch(t, p->n_in);
    for (size_t k = 0; flags && k < p->n_in; k++)
        flags[k] = want[k] ? NBI_WANTED : 0;
    const nb_program *q = flags ? nbi_derived_of(p, how, flags) : NULL;
    if (!q)
        nbi_no_memory(t, "map");
    return q;
}

/* The adjoint in the tape's type: that of a scalar result is a double on every tape. */
static bool narrow(nb_tape *t, nb_array *g)
{
    if (g->dtype == t->dtype)
        return true;
    float *f = nbi_scratch(t, sizeof *f);
    if (!f)
        return nbi_no_memory(t, "map"), false;
    *f = (float)*(const double *)g->data;
    g->data = f;
    g->dtype = t->dtype;
    return true;
}

nb_code nbi_map_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                               const bool *add)
{
    const nbi_mapping *m = c->state;
    const nb_program *p = m->p;
    nb_tape *t = c->tape;
    nb_array seed = *g;
    nbi_map_layout l;
    bool *want = nbi_scratch(t, p->n_in);
    nbi_map_in *in = nbi_scratch(t, (p->n_in + p->n_out) * sizeof *in);
    nbi_map_out *out = nbi_scratch(t, p->n_in * sizeof *out);
    if (!want || !in || !out)
        return nbi_no_memory(t, "map");
    if (!nbi_map_of_arrays(c, &l) || !narrow(t, &seed))
        return NB_ERR_MEMORY;
    size_t n = 0;
    for (size_t k = 0; k < p->n_in; k++) {
        in[k] = (nbi_map_in){c->in[k].data, l.in[k]};
        want[k] = gin[k] != NULL;
        if (want[k])
            out[n++] = (nbi_map_out){gin[k]->data, gin[k]->size, gin[k]->dtype, add[k], (int32_t)k};
    }
    for (size_t k = 0; k < p->n_out; k++)
        in[p->n_in + k] = (nbi_map_in){nbi_map_part(&seed, l.out, k), l.out[k]};
    const nb_program *q = derived(t, p, NBI_DERIVE_VJP, want);
    return q ? nbi_map_run(c, q, l.lanes, in, out) : NB_ERR_MEMORY;
}

nb_code nbi_map_reverse(const nb_rule *r)
{
    const nbi_mapping *m = r->state;
    const size_t n = m->p->n_in;
    nbi_map_layout l;
    nbi_map_draft d;
    size_t wanted = 0;
    if (!nbi_map_of_vars(r->tape, m, r->in, &l) ||
        !nbi_map_open(r->tape, &d, derived(r->tape, m->p, NBI_DERIVE_VJP, r->want)))
        return r->tape->code;
    nb_shape *shape = nbi_scratch(r->tape, n * sizeof *shape);
    nb_var *part = nbi_scratch(r->tape, n * sizeof *part);
    if (!shape || !part)
        return nbi_no_memory(r->tape, "map");
    memcpy(d.x, r->in, n * sizeof *d.x);
    nbi_map_take_apart(r->g, m->p->n_out, l.out, d.x + n);
    for (size_t k = 0; k < n; k++)
        if (r->want[k]) {
            shape[wanted] = l.in[k];
            d.m->like[wanted++] = (int32_t)k;
        }
    const nb_var all = nbi_map_apply(&d);
    nbi_map_take_apart(all, wanted, shape, part);
    for (size_t k = 0; k < wanted; k++)
        r->d[d.m->like[k]] = part[k];
    return nb_ok(all) ? NB_OK : r->tape->code;
}

nb_code nbi_map_tangent(const nb_rule *r)
{
    const nbi_mapping *m = r->state;
    nbi_map_draft d;
    size_t n = m->p->n_in;
    if (!nbi_map_open(r->tape, &d, derived(r->tape, m->p, NBI_DERIVE_JVP, r->want)))
        return r->tape->code;
    memcpy(d.x, r->in, n * sizeof *d.x);
    for (size_t k = 0; k < m->p->n_in; k++)
        if (r->want[k])
            d.x[n++] = r->t[k];
    memcpy(d.m->like, m->like, m->p->n_out * sizeof *m->like);
    r->d[0] = nbi_map_apply(&d);
    return nb_ok(r->d[0]) ? NB_OK : r->tape->code;
}
