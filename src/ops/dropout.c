/*
 * Dropout: a random selection.
 *
 *     y[i] = x[i] / (1 - p)  where element i is kept,  0 where it is dropped
 *
 * The mask is drawn whenever the forward rule runs and belongs to the node: a bit per element, set
 * where it is kept. The map is linear and diagonal, so it is its own transpose: the reverse rule and
 * the tangent apply the same mask to the adjoint and to the tangent. A node of a rule points at the
 * mask of the node that it differentiates, which is older and so outlives it.
 *
 * As a selection it never multiplies by 0: where x is infinite or NaN and dropped, the result is 0.
 * With p = 1 all is dropped and the factor, infinite, is not used.
 *
 * Drawing. Let p = 0.b1 b2 … b32 in binary, rounded up. Words of 64 random bits w32, …, w1, from the
 * last digit of p that is not 0 to the first, are joined:
 *
 *     r := 0;    r := r or w[k] where b[k] is 1,    r := r and w[k] where it is 0
 *
 * If a bit of r is set with probability q before a step, it is with (1 + q) / 2 or q / 2 after it:
 * the digit is put before those of q. So in the end each of the 64 bits is set with probability p, for
 * as many random words as p has digits: one for p = 1/2.
 */
#include "ops/array.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/net.h>

#include <math.h>
#include <string.h>

typedef struct dropout_state {
    double p;
    nb_rng *rng;          /* the caller's; NULL where the mask is another node's */
    const uint64_t *mask; /* bit i % 64 of word i / 64: element i is kept */
} dropout_state;

static nb_code dropout_shape(const nb_call *c, nb_shape *out)
{
    (void)out; /* that of x */
    const dropout_state *s = c->state;
    if (!(s->p >= 0 && s->p <= 1))
        return nb_refuse(c, NB_ERR_ARGUMENT, "the probability lies outside [0, 1]", "it is %g",
                         s->p);
    if (!s->rng && !s->mask)
        return nb_refuse(c, NB_ERR_ARGUMENT, "the random number generator is NULL", NULL);
    return NB_OK;
}

/* 64 bits, each set with probability p 2^-32. */
static uint64_t draw(nb_rng *rng, uint64_t p)
{
    uint64_t r = 0;
    if (p >> 32)
        return UINT64_MAX;
    for (int k = p ? __builtin_ctzll(p) : 32; k < 32; k++) {
        const uint64_t w = nb_rng_bits(rng);
        r = p >> k & 1 ? r | w : r & w;
    }
    return r;
}

static bool draw_mask(const nb_call *c, dropout_state *s)
{
    const size_t words = ((size_t)c->out->size + 63) / 64;
    const uint64_t p = (uint64_t)ceil(s->p * 0x1p32);
    uint64_t *mask = nb_keep(c, words * sizeof *mask);
    if (!mask)
        return false;
    for (size_t i = 0; i < words; i++)
        mask[i] = ~draw(s->rng, p);
    s->mask = mask;
    return true;
}

#define T       double
#define BITS    int64_t
#define NAME(x) x##_f64
#include "ops/dropout.inc"
#undef T
#undef BITS
#undef NAME

#define T       float
#define BITS    int32_t
#define NAME(x) x##_f32
#include "ops/dropout.inc"
#undef T
#undef BITS
#undef NAME

static void select_kept(const dropout_state *s, nb_dtype d, int64_t n, const void *x, void *y,
                        bool add)
{
    const double factor = 1 / (1 - s->p);
    if (d == NB_F64)
        select_kept_f64(s->mask, factor, n, x, y, add);
    else
        select_kept_f32(s->mask, (float)factor, n, x, y, add);
}

static nb_code dropout_forward(const nb_call *c)
{
    dropout_state *s = c->state;
    if (s->rng && !draw_mask(c, s))
        return NB_ERR_MEMORY;
    if (c->out->rank < 0)
        nbi_put_at(c->out, 0, s->mask[0] & 1 ? nbi_get_at(&c->in[0], 0) / (1 - s->p) : 0, false);
    else
        select_kept(s, c->out->dtype, c->out->size, c->in[0].data, c->out->data, false);
    return NB_OK;
}

static nb_code dropout_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                      const bool *add)
{
    if (gin[0])
        select_kept(c->state, g->dtype, g->size, g->data, gin[0]->data, add[0]);
    return NB_OK;
}

static nb_var same_mask(const nb_rule *r, nb_var v)
{
    dropout_state s = *(const dropout_state *)r->state;
    s.rng = NULL;
    return nb_apply(r->op, 1, &v, &s, sizeof s);
}

static nb_code dropout_reverse(const nb_rule *r)
{
    r->d[0] = same_mask(r, r->g);
    return NB_OK;
}

static nb_code dropout_tangent(const nb_rule *r)
{
    r->d[0] = same_mask(r, r->t[0]);
    return NB_OK;
}

static nb_var dropout_sample(nb_sampler *s, int k)
{
    nb_rng r = nb_rng_seed((uint64_t)k); /* the same mask each time */
    switch (k) {
    case 0: return nb_dropout(nb_sample(s, NB_SHAPE(3, 7), -2, 2), 0.5, &r);
    case 1: return nb_dropout(nb_sample(s, NB_SHAPE(8), -2, 2), 0.1, &r);
    case 2: return nb_dropout(nb_sample(s, NB_SHAPE(33), -2, 2), 0.9, &r);
    case 3: return nb_dropout(nb_sample(s, NB_SHAPE(2, 1, 3), -2, 2), 0, &r);
    case 4: return nb_dropout(nb_sample(s, NB_SHAPE(0, 3), -2, 2), 0.5, &r);
    case 5: return nb_dropout(nb_sample_scalar(s, -2, 2), 0.25, &r);
    default: return NB_NONE;
    }
}

const nb_rng *nbi_dropout_rng(const void *state) { return ((const dropout_state *)state)->rng; }

const nb_op nbi_op_dropout = {
    .name = "dropout",
    .doc = "each element 0 with a probability, else enlarged to keep the mean",
    .shape = dropout_shape,
    .forward = dropout_forward,
    .reverse = dropout_reverse,
    .reverse_arrays = dropout_reverse_arrays,
    .overwrites = true,
    .tangent = dropout_tangent,
    .sample = dropout_sample,
};

nb_var(nb_dropout)(nb_var x, double p, nb_rng *r)
{
    dropout_state s = {.p = p, .rng = r};
    return nb_apply(&nbi_op_dropout, 1, &x, &s, sizeof s);
}
