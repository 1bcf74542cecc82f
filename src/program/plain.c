/*
 * The plain graph; plain.h says what it is.
 */
#include "program/plain.h"

static bool open_plain(nbi_plain *w, const nb_program *p, nbi_heap *heap)
{
    *w = (nbi_plain){.p = p};
    nbi_dag_open(&w->d, heap);
    w->result = nbi_resize(heap, NULL, 0, p->out_elements * sizeof *w->result);
    w->guard = nbi_resize(heap, NULL, 0, p->n_guards * sizeof *w->guard);
    return (w->result || !p->out_elements) && (w->guard || !p->n_guards);
}

void nbi_plain_free(nbi_plain *w)
{
    nbi_resize(w->d.heap, w->result, w->p->out_elements * sizeof *w->result, 0);
    nbi_resize(w->d.heap, w->guard, w->p->n_guards * sizeof *w->guard, 0);
    nbi_dag_close(&w->d);
}

static void carry_along(nbi_plain *w, const uint32_t *result, const uint32_t *guard,
                        const uint32_t *number)
{
    for (size_t k = 0; k < w->p->out_elements; k++)
        w->result[k] = number[result[k]];
    for (size_t k = 0; k < w->p->n_guards; k++)
        w->guard[k] = number[guard[k]];
}

static bool expand(nbi_plain *w, uint8_t weights)
{
    const nbi_dag *from = &w->p->dag;
    nbi_dag *d = &w->d;
    uint32_t *number = nbi_resize(d->heap, NULL, 0, from->count * sizeof *number);
    if (!number && from->count)
        return false;
    d->expand = weights;
    for (size_t i = 0; i < from->count; i++) {
        const nbi_dag_node *n = &from->node[i];
        uint32_t in[3] = {0};
        for (int k = 0; k < nbi_dag_arity(n->code); k++)
            in[k] = number[n->in[k]];
        switch (n->code) {
        case NBI_DAG_INPUT: number[i] = nbi_dag_input(d, n->in[0]); break;
        case NBI_DAG_CONSTANT:
            number[i] = nbi_dag_constant(d, nbi_dag_value(from, (uint32_t)i));
            break;
        case NBI_DAG_HOLD: number[i] = in[0]; break;
        case NBI_DAG_CARRY: number[i] = nbi_dag_constant(d, -0.0); break;
        default: number[i] = nbi_dag_op(d, n->code, in[0], in[1], in[2]);
        }
    }
    const bool done = !d->failed;
    if (done)
        carry_along(w, w->p->result, w->p->guard, number);
    nbi_resize(d->heap, number, from->count * sizeof *number, 0);
    return done;
}

/* from's nodes again in to, quotients as products where that pays. */
static bool share_reciprocals(nbi_plain *to, const nbi_plain *from, const uint8_t *shared)
{
    const nbi_dag *d = &from->d;
    const size_t bytes = d->count * (2 * sizeof(uint32_t) + 1);
    uint32_t *number = nbi_resize(d->heap, NULL, 0, bytes);
    if (!number)
        return d->count == 0;
    uint32_t *quotients = number + d->count;
    uint8_t *varies = (uint8_t *)(quotients + d->count);
    memset(quotients, 0, d->count * sizeof *quotients);
    nbi_mark_dependent(from->p, d, shared, 0, true, varies);
    for (size_t i = 0; i < d->count; i++)
        if (d->node[i].code == NBI_ROW_div || d->node[i].code == NBI_ROW_recip)
            quotients[d->node[i].in[d->node[i].code == NBI_ROW_div]]++;
    for (size_t i = 0; i < d->count; i++) {
        const nbi_dag_node *n = &d->node[i];
        uint32_t in[3];
        memcpy(in, n->in, sizeof in);
        for (int k = 0; k < nbi_dag_arity(n->code); k++)
            in[k] = number[n->in[k]];
        const uint32_t by = n->in[1];
        if (n->code == NBI_DAG_CONSTANT)
            number[i] = nbi_dag_constant(&to->d, nbi_dag_value(d, (uint32_t)i));
        else if (n->code == NBI_DAG_INPUT)
            number[i] = nbi_dag_input(&to->d, in[0]);
        else if (n->code == NBI_ROW_div && varies[i] && (quotients[by] > 1 || !varies[by]))
            number[i] = nbi_dag_op(&to->d, NBI_ROW_mul, in[0],
                                   nbi_dag_op(&to->d, NBI_ROW_recip, in[1], 0, 0), 0);
        else
            number[i] = nbi_dag_op(&to->d, n->code, in[0], in[1], in[2]);
    }
    const bool done = !to->d.failed;
    if (done)
        carry_along(to, from->result, from->guard, number);
    nbi_resize(d->heap, number, bytes, 0);
    return done;
}

bool nbi_plain_make(nbi_plain *w, const nb_program *p, nbi_heap *heap, uint8_t weights,
                    const uint8_t *shared)
{
    bool done = open_plain(w, p, heap) && expand(w, weights);
    if (done && !p->strict) {
        nbi_plain fast;
        done = open_plain(&fast, p, heap) && share_reciprocals(&fast, w, shared);
        nbi_plain_free(w);
        *w = fast;
    }
    return done;
}
