/*
 * Derivatives on request, kept.
 *
 * The rules of nb_map and nb_scan are programs derived from the one that was mapped. A step of training
 * asks for the same ones each time, so each program keeps what was derived from it, by way of derivation
 * and inputs wanted, in a list under its lock. What is derived is a program and has a list of its own:
 * second derivatives are found in two steps.
 */
#include "program/derived.h"

struct nbi_derived {
    nbi_derived *next;
    nb_program *program;
    nbi_derivation how;
    uint8_t flags[]; /* [inputs of the program that this is derived from] */
};

static size_t size_of(const nb_program *p) { return sizeof(nbi_derived) + p->n_in; }

/* Adds an input "g s" to each output "d s" that belongs to a state. */
static bool add_states(nb_program *q, const nb_program *p, const uint8_t *flags)
{
    bool done = true;
    char name[96];
    size_t out = 0;
    for (size_t k = 0; k < p->n_in && done; k++) {
        const nbi_argument a = p->in[k];
        const size_t to = q->n_out > out ? q->out[out].first : 0;
        out += (flags[k] & NBI_WANTED) != 0;
        if (!(flags[k] & NBI_STATE))
            continue;
        snprintf(name, sizeof name, "g %s", a.name);
        done = nbi_program_add_in(q, name, a.count, false, a.vector);
        for (size_t e = 0; done && e < a.count; e++) {
            const uint32_t g = nbi_dag_input(&q->dag, q->in[q->n_in - 1].first + e);
            q->result[to + e] = nbi_dag_op(&q->dag, NBI_ROW_add, q->result[to + e], g, 0);
        }
    }
    return done && !q->dag.failed;
}

static nb_program *derive(const nb_program *p, nbi_derivation how, const uint8_t *flags)
{
    nbi_heap h;
    nbi_heap_init(&h, &p->heap.allocator, 0);
    bool *want = nbi_resize(&h, NULL, 0, p->n_in * sizeof *want);
    if (!want)
        return NULL;
    for (size_t k = 0; k < p->n_in; k++)
        want[k] = flags[k] & NBI_WANTED;
    nb_program *q =
        how == NBI_DERIVE_JVP ? nb_program_jvp(p, want, NULL) : nb_program_vjp(p, want, NULL);
    nbi_resize(&h, want, p->n_in * sizeof *want, 0);
    if (q && how == NBI_DERIVE_BACK && !add_states(q, p, flags)) {
        nb_program_free(q);
        q = NULL;
    }
    return q;
}

static nbi_derived *make(nb_program *p, nbi_derivation how, const uint8_t *flags)
{
    nbi_derived *d = nbi_resize(&p->heap, NULL, 0, size_of(p));
    if (!d)
        return NULL;
    d->how = how;
    memcpy(d->flags, flags, p->n_in);
    d->program = derive(p, how, flags);
    if (d->program)
        return d;
    nbi_resize(&p->heap, d, size_of(p), 0);
    return NULL;
}

const nb_program *nbi_derived_of(const nb_program *p, nbi_derivation how, const uint8_t *flags)
{
    nb_program *q = (nb_program *)p; /* its list alone changes, under the lock */
    pthread_mutex_lock(&q->lock);
    nbi_derived *d = q->derived;
    while (d && (d->how != how || memcmp(d->flags, flags, p->n_in) != 0))
        d = d->next;
    if (!d && (d = make(q, how, flags))) {
        d->next = q->derived;
        q->derived = d;
    }
    pthread_mutex_unlock(&q->lock);
    return d ? d->program : NULL;
}

void nbi_derived_free(nb_program *p)
{
    while (p->derived) {
        nbi_derived *d = p->derived;
        p->derived = d->next;
        nb_program_free(d->program);
        nbi_resize(&p->heap, d, size_of(p), 0);
    }
}
