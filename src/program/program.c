/*
 * Programs as objects: making, copying, pruning, freeing, and what there is to know about one.
 */
#include "program/program.h"

#include "program/code.h"
#include "program/derived.h"
#include <stdlib.h>

/* ---- life ------------------------------------------------------------------------------------ */

nb_program *nbi_program_new(const nb_allocator *a)
{
    nbi_heap heap;
    nbi_heap_init(&heap, a, 0);
    nb_program *p = nbi_resize(&heap, NULL, 0, sizeof *p);
    if (!p)
        return NULL;
    *p = (nb_program){.heap = heap, .isa = nbi_isa_lower(nbi_isa_best(), getenv("NABLA_ISA"))};
    atomic_init(&p->holders, 1);
    nbi_dag_open(&p->dag, &p->heap);
    if (pthread_mutex_init(&p->lock, NULL) != 0) {
        nbi_resize(&heap, p, sizeof *p, 0);
        return NULL;
    }
    return p;
}

static void free_arguments(nb_program *p, nbi_argument *a, size_t n, size_t room)
{
    for (size_t k = 0; k < n; k++)
        nbi_resize(&p->heap, a[k].name, strlen(a[k].name) + 1, 0);
    nbi_resize(&p->heap, a, room * sizeof *a, 0);
}

void nbi_program_hold(const nb_program *p)
{
    atomic_fetch_add(&((nb_program *)p)->holders, 1); /* the count alone changes */
}

void nb_program_free(nb_program *p)
{
    if (!p || atomic_fetch_sub(&p->holders, 1) > 1)
        return;
    nbi_derived_free(p);
    nbi_codes_free(p);
    free_arguments(p, p->in, p->n_in, p->in_room);
    free_arguments(p, p->out, p->n_out, p->out_room);
    nbi_resize(&p->heap, p->result, p->result_room * sizeof *p->result, 0);
    nbi_resize(&p->heap, p->guard, p->guard_room * sizeof *p->guard, 0);
    nbi_dag_close(&p->dag);
    pthread_mutex_destroy(&p->lock);
    nbi_heap heap = p->heap;
    nbi_resize(&heap, p, sizeof *p, 0);
}

/* Room in a list for `need` items; the list, or NULL if there is no memory. */
static void *make_room(nb_program *p, void *list, size_t *room, size_t need, size_t size)
{
    if (need <= *room && list)
        return list;
    const size_t more = need < 2 * *room ? 2 * *room : need ? need : 1;
    list = nbi_resize(&p->heap, list, *room * size, more * size);
    *room = list ? more : *room;
    return list;
}

/* One more argument at the end of a list; its count is added to *elements. */
static nbi_argument *append(nb_program *p, nbi_argument *list, size_t *n, size_t *elements,
                            const char *name, size_t count)
{
    const char *text = name ? name : "";
    char *copy = nbi_resize(&p->heap, NULL, 0, strlen(text) + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, strlen(text) + 1);
    list[*n] = (nbi_argument){.name = copy, .first = *elements, .count = count};
    *elements += count;
    return &list[(*n)++];
}

static bool fits(size_t elements, size_t count)
{
    return count < UINT32_MAX / 4 && elements + count < UINT32_MAX / 4;
}

bool nbi_program_add_in(nb_program *p, const char *name, size_t count, bool shared, bool vector)
{
    if (!fits(p->in_elements, count))
        return false;
    nbi_argument *in = make_room(p, p->in, &p->in_room, p->n_in + 1, sizeof *in);
    p->in = in ? in : p->in;
    nbi_argument *a = in ? append(p, in, &p->n_in, &p->in_elements, name, count) : NULL;
    if (a) {
        a->shared = shared;
        a->vector = vector || count != 1;
    }
    return a != NULL;
}

bool nbi_program_add_out(nb_program *p, const char *name, size_t count, bool sum, bool vector)
{
    const size_t old = p->out_elements;
    if (!fits(old, count))
        return false;
    uint32_t *r = make_room(p, p->result, &p->result_room, old + count, sizeof *r);
    p->result = r ? r : p->result;
    nbi_argument *out = r ? make_room(p, p->out, &p->out_room, p->n_out + 1, sizeof *out) : NULL;
    p->out = out ? out : p->out;
    nbi_argument *a = out ? append(p, out, &p->n_out, &p->out_elements, name, count) : NULL;
    if (!a)
        return false;
    memset(r + old, 0, count * sizeof *r);
    a->sum = sum;
    a->vector = vector || count != 1;
    return true;
}

bool nbi_program_add_guard(nb_program *p, uint32_t node)
{
    uint32_t *g = make_room(p, p->guard, &p->guard_room, p->n_guards + 1, sizeof *g);
    if (!g)
        return false;
    p->guard = g;
    p->guard[p->n_guards++] = node;
    return true;
}

/* ---- pruning and copying --------------------------------------------------------------------- */

/* Adds the marked nodes of `from` to `to`, noting their new numbers in place of the marks. */
static void copy_marked(nbi_dag *to, const nbi_dag *from, uint32_t *number)
{
    for (size_t i = 0; i < from->count; i++) {
        const nbi_dag_node *n = &from->node[i];
        uint32_t in[3];
        memcpy(in, n->in, sizeof in);
        if (number[i] == NBI_DAG_NONE)
            continue;
        for (int k = 0; k < nbi_dag_arity(n->code); k++)
            in[k] = number[n->in[k]];
        if (n->code == NBI_DAG_INPUT)
            number[i] = nbi_dag_input(to, in[0]);
        else if (n->code == NBI_DAG_CONSTANT)
            number[i] = nbi_dag_constant(to, nbi_dag_value(from, (uint32_t)i));
        else
            number[i] = nbi_dag_op(to, n->code, in[0], in[1], in[2]);
    }
}

/* Marks what is needed; how many nodes that is. */
static size_t mark(const nb_program *p, uint32_t *number)
{
    size_t needed = 0;
    const nbi_dag *d = &p->dag;
    memset(number, 0xff, d->count * sizeof *number);
    for (size_t k = 0; k < p->out_elements; k++)
        number[p->result[k]] = 0;
    for (size_t k = 0; k < p->n_guards; k++)
        number[p->guard[k]] = 0;
    for (size_t i = d->count; i-- > 0;) {
        if (number[i] == NBI_DAG_NONE)
            continue;
        needed++;
        for (int k = 0; k < nbi_dag_arity(d->node[i].code); k++)
            number[d->node[i].in[k]] = 0;
    }
    return needed;
}

bool nbi_program_prune(nb_program *p)
{
    nbi_dag fresh;
    const size_t bytes = p->dag.count * sizeof(uint32_t);
    if (p->dag.failed)
        return false;
    uint32_t *number = nbi_resize(&p->heap, NULL, 0, bytes);
    if (!number)
        return bytes == 0;
    const size_t needed = mark(p, number);
    if (needed == p->dag.count) {
        nbi_resize(&p->heap, number, bytes, 0);
        return true;
    }
    nbi_dag_open(&fresh, &p->heap);
    bool done = nbi_dag_reserve(&fresh, needed);
    if (done)
        copy_marked(&fresh, &p->dag, number);
    done = done && !fresh.failed;
    for (size_t k = 0; done && k < p->out_elements; k++)
        p->result[k] = number[p->result[k]];
    for (size_t k = 0; done && k < p->n_guards; k++)
        p->guard[k] = number[p->guard[k]];
    nbi_resize(&p->heap, number, bytes, 0);
    if (!done) {
        nbi_dag_close(&fresh);
        return false;
    }
    nbi_dag_close(&p->dag);
    p->dag = fresh;
    return true;
}

static bool copy_dag(nb_program *to, const nb_program *from)
{
    const nbi_dag *d = &from->dag;
    nbi_dag *c = &to->dag;
    c->node = nbi_resize(&to->heap, NULL, 0, d->room * sizeof *d->node);
    c->room = c->node ? d->room : 0;
    c->table = nbi_resize(&to->heap, NULL, 0, d->slots * sizeof *d->table);
    c->slots = c->table ? d->slots : 0;
    if (c->room != d->room || c->slots != d->slots)
        return false;
    if (d->count) {
        memcpy(c->node, d->node, d->count * sizeof *d->node);
        memcpy(c->table, d->table, d->slots * sizeof *d->table);
    }
    c->count = d->count;
    return true;
}

nb_program *nbi_program_copy(const nb_program *p, bool outputs)
{
    nb_program *q = nbi_program_new(&p->heap.allocator);
    bool done = q && copy_dag(q, p);
    for (size_t k = 0; done && k < p->n_in; k++)
        done =
            nbi_program_add_in(q, p->in[k].name, p->in[k].count, p->in[k].shared, p->in[k].vector);
    for (size_t k = 0; done && outputs && k < p->n_out; k++)
        done = nbi_program_add_out(q, p->out[k].name, p->out[k].count, p->out[k].sum,
                                   p->out[k].vector);
    for (size_t k = 0; done && k < p->n_guards; k++)
        done = nbi_program_add_guard(q, p->guard[k]);
    if (!done) {
        nb_program_free(q);
        return NULL;
    }
    if (outputs && p->out_elements)
        memcpy(q->result, p->result, p->out_elements * sizeof *p->result);
    q->strict = p->strict;
    q->recorded = p->recorded;
    return q;
}

size_t nbi_argument_of(const nbi_argument *list, size_t n, size_t place)
{
    size_t low = 0, high = n;
    while (high - low > 1) {
        const size_t mid = low + (high - low) / 2;
        if (list[mid].first <= place)
            low = mid;
        else
            high = mid;
    }
    return low;
}

void nbi_mark_dependent(const nb_program *p, const nbi_dag *d, const uint8_t *flags, uint8_t value,
                        bool held, uint8_t *mark)
{
    for (size_t i = 0; i < d->count; i++) {
        const nbi_dag_node *n = &d->node[i];
        mark[i] =
            n->code == NBI_DAG_INPUT && flags[nbi_argument_of(p->in, p->n_in, n->in[0])] == value;
        if (n->code == NBI_DAG_HOLD && !held)
            continue;
        for (int k = 0; k < nbi_dag_arity(n->code); k++)
            mark[i] = mark[i] || mark[n->in[k]];
    }
}

/* ---- looking --------------------------------------------------------------------------------- */

static nb_argument_info describe(const nbi_argument *a)
{
    return (nb_argument_info){a->name, a->count, a->shared, a->sum, a->vector};
}

nb_argument_info nb_program_in(const nb_program *p, size_t k)
{
    return p && k < p->n_in ? describe(&p->in[k]) : (nb_argument_info){.name = ""};
}

nb_argument_info nb_program_out(const nb_program *p, size_t k)
{
    return p && k < p->n_out ? describe(&p->out[k]) : (nb_argument_info){.name = ""};
}

nb_program_info nb_program_inspect(const nb_program *p)
{
    nb_program_info info = {0};
    uint8_t few[64], *flags = few;
    nbi_heap h;
    if (!p)
        return info;
    nbi_heap_init(&h, &p->heap.allocator, 0);
    const size_t n = p->n_in + p->n_out;
    info = (nb_program_info){.n_in = p->n_in, .n_out = p->n_out, .recorded = p->recorded};
    info.guards = p->n_guards;
    for (size_t i = 0; i < p->dag.count; i++)
        info.ops += p->dag.node[i].code < NBI_ROWS;
    if (n > sizeof few && !(flags = nbi_resize(&h, NULL, 0, n)))
        return info;
    nbi_flags_declared(p, flags);
    const nbi_code *c = nbi_code_for(p, &(nbi_pattern){.lanes = INT64_MAX / 8,
                                                       .dtype = NB_F64,
                                                       .shared = flags,
                                                       .summed = flags + p->n_in});
    if (c) {
        info.instructions = c->each.count - 1;
        info.once = c->once.count - 1;
        info.slots = c->slots;
        info.width = (size_t)c->lanes;
    }
    pthread_mutex_t *lock = &((nb_program *)p)->lock; /* others may be making code */
    pthread_mutex_lock(lock);
    info.bytes = p->heap.used;
    pthread_mutex_unlock(lock);
    if (flags != few)
        nbi_resize(&h, flags, n, 0);
    return info;
}
