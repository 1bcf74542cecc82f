/*
 * Where the adjoints of tensors live.
 *
 * A scalar's adjoint is a number in its cell. A tensor's is a buffer, made when the first
 * contribution arrives and, for interior nodes, given back as soon as the sweep has passed it on; so
 * the sweep of a deep net holds a few buffers, not one per layer. Buffers come from free lists by
 * size class (eight to each power of two, so at most an eighth is wasted), filled from an arena that
 * is emptied when the next sweep begins.
 */
#include "tape/tape.h"

#include "kernels/elementwise.h"
#include <math.h>

/* The class of a size in units of NBI_ALIGN, and the size that its buffers have. */
static int size_class(size_t bytes, size_t *rounded)
{
    size_t units = (bytes + NBI_ALIGN - 1) / NBI_ALIGN;
    if (units < 8) {
        *rounded = (units ? units : 1) * NBI_ALIGN;
        return (int)(units ? units : 1);
    }
    int shift = 60 - __builtin_clzll((unsigned long long)units); /* leaves four bits */
    size_t step = (size_t)1 << shift, up = (units + step - 1) / step;
    if (up == 16)
        shift++, up = 8;
    *rounded = (up << shift) * NBI_ALIGN;
    return (shift + 1) * 8 + (int)(up - 8);
}

void *nbi_buffer(nb_tape *t, size_t bytes)
{
    size_t size;
    void **head = &t->pool[size_class(bytes, &size)], *p = *head;
    if (p)
        memcpy(head, p, sizeof *head); /* a free buffer's first word points to the next */
    else
        p = nbi_take(&t->adjoints, size, NBI_ALIGN);
    if (!p)
        nbi_no_memory(t, "a gradient");
    return p;
}

/* Puts the buffer on its free list. */
void nbi_buffer_release(nb_tape *t, void *p, size_t bytes)
{
    size_t size;
    const int class = size_class(bytes, &size);
    void **head = &t->pool[class];
    t->pool_low = class < t->pool_low ? class : t->pool_low;
    t->pool_high = class < t->pool_high ? t->pool_high : class + 1;
    memcpy(p, head, sizeof *head);
    *head = p;
}

static void release(nb_tape *t, nbi_record *r)
{
    nbi_buffer_release(t, r->grad, (size_t)r->size * nbi_element(t->dtype));
    r->grad = NULL;
}

void nbi_adjoint_release(nb_tape *t, nbi_record *r)
{
    if (r->grad && !r->leaf && !r->retain)
        release(t, r);
}

void *nbi_adjoint(nb_tape *t, uint32_t i, bool *add)
{
    nbi_record *r = nbi_record_at(t, i);
    *add = t->hot.cells[i].adjoint != 0 && !r->fresh;
    if (!r->grad)
        r->grad = nbi_buffer(t, (size_t)r->size * nbi_element(t->dtype));
    if (r->grad) {
        t->hot.cells[i].adjoint = 1;
        r->fresh = false;
    }
    return r->grad;
}

/* Forgets all adjoints, or all but those of leaves. */
void nbi_adjoints_clear(nb_tape *t, bool leaves_too)
{
    uint32_t n = t->dirty < t->hot.length ? t->dirty : t->hot.length;
    for (uint32_t i = 0; i < n; i++) {
        nbi_record *r = t->hot.ops[i] == NBI_RECORD ? nbi_record_at(t, i) : NULL;
        bool leaf = r ? r->leaf : t->hot.ops[i] == NBI_INPUT;
        if (leaf && !leaves_too)
            continue;
        t->hot.cells[i].adjoint = 0;
        if (r && r->grad && !r->borrowed)
            release(t, r);
        if (r)
            r->fresh = r->borrowed;
    }
    if (!leaves_too)
        return;
    t->dirty = 0;
    for (int k = t->pool_low; k < t->pool_high; k++)
        t->pool[k] = NULL;
    t->pool_low = NBI_POOLS;
    t->pool_high = 0;
    nbi_give_back_all(&t->adjoints);
    t->reached = NULL;
    t->wanted = NULL;
    t->n_outputs = 0;
}

void nbi_adjoints_release(nb_tape *t, uint32_t length, uint32_t end)
{
    for (uint32_t i = length; i < end; i++) {
        nbi_record *r = t->hot.ops[i] == NBI_RECORD ? nbi_record_at(t, i) : NULL;
        if (r && r->grad && !r->borrowed)
            release(t, r);
    }
}

static double sum(const nb_tape *t, const nb_array *a)
{
    double total = 0;
    nb_array out = {&total, NULL, 1, -1, NB_F64};
    nbi_reduce_into(&t->crew, a, &out, false);
    return total;
}

bool nbi_accumulate(nb_tape *t, uint32_t i, const nb_array *a)
{
    if (!nbi_is_tensor(t, i)) {
        t->hot.cells[i].adjoint +=
            a->rank < 0 && a->dtype == NB_F64 ? *(double *)a->data : sum(t, a);
        return true;
    }
    bool add;
    const nbi_record *r = nbi_record_at(t, i);
    nb_array to = {nbi_adjoint(t, i, &add), r->dims, r->size, r->rank, t->dtype};
    if (to.data)
        nbi_reduce_into(&t->crew, a, &to, add);
    return to.data != NULL;
}
