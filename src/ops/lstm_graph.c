/*
 * The LSTM's reverse rule as graph code: backpropagation through time, written out.
 *
 * The gates are recomputed from the operands by public operations, step by step, because their
 * adjoints are functions of the operands too and will be differentiated again. Then the steps run in
 * reverse. With dh the adjoint of h(t) and dc that of c(t), both complete when their step is reached,
 *
 *     dh = g(t) + dz(t+1) w_h^T             do = dh tanh c
 *     dc = f(t+1) dc(t+1) + dh o tanh'(c)   di = dc g,  df = dc c(t-1),  dg = dc i
 *
 * and the product with a gate's slope is the table's own rule for sigmoid and tanh.
 */
#include "ops/lstm.h"

#include "ops/elementwise.h"
#include "ops/product.h"
#include <nabla/ops.h>

enum { X, W_X, W_H, B, H0, C0 };
enum { IN, KEEP, FRESH, OUT, GATES };

typedef struct step {
    nb_var z[GATES], a[GATES]; /* arguments of the gates, and their values */
    nb_var h_before, c_before, c, tanh_c;
} step;

/* Step t of v [steps n …], without its first axis. */
static nb_var at(nb_var v, int64_t t)
{
    return nb_reshape(nb_slice(v, 0, t, t + 1, 1), NB_SHAPE(nb_dim(v, 1), nb_dim(v, 2)));
}

static enum nbi_row row_of(int gate) { return gate == FRESH ? NBI_ROW_tanh : NBI_ROW_sigmoid; }

static void forward(const nb_rule *r, const nbi_lstm *s, step *all)
{
    nb_var zx = nb_affine(r->in[X], r->in[W_X], r->in[B]), h = r->in[H0], c = r->in[C0];
    for (int64_t t = 0; t < s->steps; t++) {
        step *k = &all[t];
        nb_var z = nb_add(at(zx, t), nb_matmul(h, r->in[W_H]));
        nb_split(z, GATES, 1, k->z);
        for (int i = 0; i < GATES; i++)
            k->a[i] = nbi_row_call(row_of(i), &k->z[i]);
        k->h_before = h, k->c_before = c;
        k->c = c = nb_add(nb_mul(k->a[KEEP], c), nb_mul(k->a[IN], k->a[FRESH]));
        k->tanh_c = nb_tanh(c);
        h = nb_mul(k->a[OUT], k->tanh_c);
    }
}

/* dz of a step, from dh and from *dc, which becomes the adjoint of the cell before. */
static nb_var backward(const step *k, nb_var dh, nb_var *dc)
{
    nb_var d[GATES], by_tanh = nb_chain(dh, k->a[OUT]);
    nb_var through = nbi_row_product(NBI_ROW_tanh, 0, &k->c, k->tanh_c, by_tanh);
    nb_var all = nb_add(*dc, through);
    d[IN] = nb_chain(all, k->a[FRESH]);
    d[KEEP] = nb_chain(all, k->c_before);
    d[FRESH] = nb_chain(all, k->a[IN]);
    d[OUT] = nb_chain(dh, k->tanh_c);
    for (int i = 0; i < GATES; i++)
        d[i] = nbi_row_product(row_of(i), 0, &k->z[i], k->a[i], d[i]);
    *dc = nb_chain(all, k->a[KEEP]);
    return nb_concat(GATES, d, 1);
}

static void give(const nb_rule *r, nb_var dz, nb_var h_before)
{
    if (r->want[X])
        r->d[X] = nb_matmul_t(dz, false, r->in[W_X], true);
    if (r->want[W_X])
        r->d[W_X] = nb_matmul_t(nbi_as_rows(r->in[X]), true, nbi_as_rows(dz), false);
    if (r->want[W_H])
        r->d[W_H] = nb_matmul_t(nbi_as_rows(h_before), true, nbi_as_rows(dz), false);
    if (r->want[B])
        r->d[B] = dz; /* the rows are summed where broadcasting is undone */
}

nb_code nbi_lstm_reverse(const nb_rule *r)
{
    const nbi_lstm *s = r->state;
    const size_t steps = (size_t)s->steps;
    nb_var dh = nb_num(0), dc = nb_num(0);
    if (s->cell)
        dc = at(r->g, s->steps);
    if (steps && s->n && s->units) {
        step *all = nbi_scratch(r->tape, steps * sizeof *all);
        nb_var *dz = nbi_scratch(r->tape, 2 * steps * sizeof *dz), *h = dz + steps;
        if (!all || !dz)
            return nbi_no_memory(r->tape, "lstm");
        forward(r, s, all);
        for (int64_t t = s->steps - 1; t >= 0; t--) {
            dz[t] = backward(&all[t], nb_add(dh, at(r->g, t)), &dc);
            dh = nb_matmul_t(dz[t], false, r->in[W_H], true);
            h[t] = all[t].h_before;
        }
        give(r, nb_stack(steps, dz, 0), nb_stack(steps, h, 0));
    }
    if (r->want[H0])
        r->d[H0] = dh;
    if (r->want[C0])
        r->d[C0] = dc;
    return NB_OK;
}
