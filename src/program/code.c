/*
 * Which code a replay needs, and the graph it is made from.
 *
 * The program's graph is rewritten into a plain one: rows that are made of others are expanded, so that
 * values and slopes share their parts; holds vanish, a carry is -0, which vanishes in its sum. Then
 * quotients by a common divisor, or by a uniform one, become products with its reciprocal, unless the
 * program is strict. (The last digit may change; and a divisor below 1e-308 has no reciprocal.)
 *
 * Rows are not expanded for float code: their kernels compute in double and round once.
 */
#include "program/code.h"

/* ---- lists ----------------------------------------------------------------------------------- */

void *nbi_list_add(nbi_heap *h, nbi_list *l)
{
    if (l->count == l->room) {
        const size_t room = l->room ? 2 * l->room : 32;
        if (room > UINT32_MAX / 2)
            return NULL;
        void *at = nbi_resize(h, l->at, l->room * l->size, room * l->size);
        if (!at)
            return NULL;
        l->at = at;
        l->room = room;
    }
    char *item = (char *)l->at + l->count++ * l->size;
    memset(item, 0, l->size);
    return item;
}

void nbi_list_free(nbi_heap *h, nbi_list *l)
{
    nbi_resize(h, l->at, l->room * l->size, 0);
    *l = (nbi_list){.size = l->size};
}

/* ---- the plain graph ------------------------------------------------------------------------- */

/* A rewriting: from graph to graph, with the nodes asked for carried along. */
typedef struct rewrite {
    const nb_program *p;
    nbi_dag d;
    uint32_t *result, *guard;
} rewrite;

static bool open_rewrite(rewrite *w, const nb_program *p, nbi_heap *heap)
{
    *w = (rewrite){.p = p};
    nbi_dag_open(&w->d, heap);
    w->result = nbi_resize(heap, NULL, 0, p->out_elements * sizeof *w->result);
    w->guard = nbi_resize(heap, NULL, 0, p->n_guards * sizeof *w->guard);
    return (w->result || !p->out_elements) && (w->guard || !p->n_guards);
}

static void close_rewrite(rewrite *w)
{
    nbi_resize(w->d.heap, w->result, w->p->out_elements * sizeof *w->result, 0);
    nbi_resize(w->d.heap, w->guard, w->p->n_guards * sizeof *w->guard, 0);
    nbi_dag_close(&w->d);
}

static void carry_along(rewrite *w, const uint32_t *result, const uint32_t *guard,
                        const uint32_t *number)
{
    for (size_t k = 0; k < w->p->out_elements; k++)
        w->result[k] = number[result[k]];
    for (size_t k = 0; k < w->p->n_guards; k++)
        w->guard[k] = number[guard[k]];
}

static bool make_plain(rewrite *w, nb_dtype dtype)
{
    const nbi_dag *from = &w->p->dag;
    nbi_dag *d = &w->d;
    uint32_t *number = nbi_resize(d->heap, NULL, 0, from->count * sizeof *number);
    if (!number && from->count)
        return false;
    d->plain = dtype == NB_F64;
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

/* Which nodes are the same in all lanes. */
static void mark_uniform(const rewrite *w, const uint8_t *shared, uint8_t *uniform)
{
    const nb_program *p = w->p;
    for (size_t i = 0; i < w->d.count; i++) {
        const nbi_dag_node *n = &w->d.node[i];
        uniform[i] = 1;
        if (n->code == NBI_DAG_INPUT)
            for (size_t k = 0; k < p->n_in; k++)
                if (n->in[0] - p->in[k].first < p->in[k].count)
                    uniform[i] = shared[k];
        for (int k = 0; k < nbi_dag_arity(n->code); k++)
            uniform[i] = uniform[i] && uniform[n->in[k]];
    }
}

/* from's nodes again in to, quotients as products where that pays. */
static bool share_reciprocals(rewrite *to, const rewrite *from, const uint8_t *shared)
{
    const nbi_dag *d = &from->d;
    const size_t bytes = d->count * (2 * sizeof(uint32_t) + 1);
    uint32_t *number = nbi_resize(d->heap, NULL, 0, bytes);
    if (!number)
        return d->count == 0;
    uint32_t *quotients = number + d->count;
    uint8_t *uniform = (uint8_t *)(quotients + d->count);
    memset(quotients, 0, d->count * sizeof *quotients);
    mark_uniform(from, shared, uniform);
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
        else if (n->code == NBI_ROW_div && !uniform[i] && (quotients[by] > 1 || uniform[by]))
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

/* ---- making and keeping ---------------------------------------------------------------------- */

static void free_code(const nb_program *p, nbi_heap *h, nbi_code *c)
{
    nbi_list *const lists[] = {&c->once,    &c->each,      &c->runs,   &c->terms,
                               &c->offsets, &c->constants, &c->exports};
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
        nbi_list_free(h, lists[k]);
    nbi_resize(h, c->shared, p->n_in, 0);
    nbi_resize(h, c->summed, p->n_out, 0);
    nbi_resize(h, c->sum, p->out_elements * sizeof *c->sum, 0);
    nbi_resize(h, c, sizeof *c, 0);
}

void nbi_codes_free(nb_program *p)
{
    while (p->codes) {
        nbi_code *c = p->codes;
        p->codes = c->next;
        free_code(p, &p->heap, c);
    }
}

static nbi_code *new_code(const nb_program *p, nbi_heap *h, nb_dtype dtype, uint32_t block,
                          bool early, const uint8_t *shared, const uint8_t *summed)
{
    nbi_code *c = nbi_resize(h, NULL, 0, sizeof *c);
    if (!c)
        return NULL;
    *c = (nbi_code){.dtype = dtype,
                    .asked = block,
                    .early = early,
                    .once.size = sizeof(nbi_instruction),
                    .each.size = sizeof(nbi_instruction),
                    .runs.size = sizeof(nbi_run),
                    .terms.size = sizeof(nbi_term_pair),
                    .offsets.size = sizeof(uint32_t),
                    .constants.size = sizeof(nbi_constant),
                    .exports.size = sizeof(nbi_export)};
    c->shared = nbi_resize(h, NULL, 0, p->n_in);
    c->summed = nbi_resize(h, NULL, 0, p->n_out);
    c->sum = nbi_resize(h, NULL, 0, p->out_elements * sizeof *c->sum);
    if ((!c->shared && p->n_in) || (!c->summed && p->n_out) || (!c->sum && p->out_elements)) {
        free_code(p, h, c);
        return NULL;
    }
    if (p->out_elements)
        memset(c->sum, 0xff, p->out_elements * sizeof *c->sum);
    if (p->n_in)
        memcpy(c->shared, shared, p->n_in);
    if (p->n_out)
        memcpy(c->summed, summed, p->n_out);
    return c;
}

/* Bytes of a slot that suit so many lanes. */
static uint32_t block_for(nb_dtype dtype, int64_t lanes)
{
    const int64_t bytes = lanes > NBI_BLOCK ? (int64_t)NBI_BLOCK : lanes * (dtype == NB_F64 ? 8 : 4);
    return bytes <= NBI_UNIFORM ? NBI_UNIFORM : bytes <= NBI_BLOCK / 2 ? NBI_BLOCK / 2 : NBI_BLOCK;
}

static bool lay_out(nbi_plan *s)
{
    const size_t n = s->d->count, bytes = n * (sizeof *s->uses + 2);
    s->uses = nbi_resize(s->heap, NULL, 0, bytes);
    if (!s->uses)
        return n == 0;
    memset(s->uses, 0, bytes);
    s->varies = (uint8_t *)(s->uses + n);
    s->inside = s->varies + n;
    const bool done = nbi_select(s) && nbi_assign(s);
    nbi_resize(s->heap, s->uses, bytes, 0);
    return done;
}

static nbi_code *make_code(const nb_program *p, nbi_heap *h, nb_dtype dtype, uint32_t block,
                           bool early, const uint8_t *shared, const uint8_t *summed)
{
    rewrite plain, fast;
    nbi_code *c = new_code(p, h, dtype, block, early, shared, summed);
    if (!c)
        return NULL;
    bool done = open_rewrite(&plain, p, h) && make_plain(&plain, dtype);
    if (done && !p->strict) {
        done = open_rewrite(&fast, p, h) && share_reciprocals(&fast, &plain, shared);
        close_rewrite(&plain);
        plain = fast;
    }
    nbi_plan s = {p, &plain.d, plain.result, plain.guard, h, c, NULL, NULL, NULL};
    done = done && lay_out(&s);
    close_rewrite(&plain);
    if (done)
        return c;
    free_code(p, h, c);
    return NULL;
}

const nbi_code *nbi_code_for(const nb_program *p, nb_dtype dtype, int64_t lanes, bool early,
                             const uint8_t *shared, const uint8_t *summed)
{
    const uint32_t block = block_for(dtype, lanes);
    nb_program *q = (nb_program *)p; /* its codes alone change, under the lock */
    pthread_mutex_lock(&q->lock);
    nbi_code *c = q->codes;
    while (c && (c->dtype != dtype || c->asked != block || c->early != early ||
                 (p->n_in && memcmp(c->shared, shared, p->n_in) != 0) ||
                 (p->n_out && memcmp(c->summed, summed, p->n_out) != 0)))
        c = c->next;
    if (!c && (c = make_code(p, &q->heap, dtype, block, early, shared, summed))) {
        c->next = q->codes;
        q->codes = c;
    }
    pthread_mutex_unlock(&q->lock);
    return c;
}

void nbi_flags_declared(const nb_program *p, uint8_t *flags)
{
    for (size_t k = 0; k < p->n_in; k++)
        flags[k] = p->in[k].shared;
    for (size_t k = 0; k < p->n_out; k++)
        flags[p->n_in + k] = p->out[k].sum;
}
