/*
 * Einsum: sums of products by formula, composed of other operations.
 *
 * A factor is a var with a label per axis. One factor by itself is brought to the result in three
 * steps: axes with one label become their diagonal, labels that nobody asks for any more are summed
 * over, the rest is permuted. Two factors are multiplied first. Their labels fall into four kinds:
 *
 *     batch    in both, and asked for later           inner    in both, and not
 *     left     in the first only                      right    in the second only
 *
 * Without inner labels the product is elementwise, with axes of size 1 where a factor lacks a label.
 * Otherwise it is a batch of matrix products
 *
 *     [batch left inner] [batch inner right]  ->  [batch left right]
 *
 * in which each kind is one axis. A factor whose axes stand with inner before left, or right before
 * inner, is used with the transpose flag; only another order has to be copied. If the result has
 * right before left, the factors change places. A label of "..." with size 1 in one factor, which
 * stretches to the other's, is dropped from the one: a factor without the label says the same.
 *
 * Three factors and more are multiplied from the left; what later factors have is asked for.
 * Derivatives of every order are those of the operations used.
 */
#include "ops/formula.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

typedef struct factor {
    nb_var x;
    nbi_term t;
} factor;

static uint64_t set_of(const nbi_term *t)
{
    uint64_t set = 0;
    for (int i = 0; i < t->rank; i++)
        set |= nbi_label_bit(t->label[i]);
    return set;
}

/* Appends the labels of t that are in the set. */
static void append(nbi_term *to, const nbi_term *t, uint64_t set)
{
    for (int i = 0; i < t->rank; i++)
        if (set & nbi_label_bit(t->label[i]))
            to->label[to->rank++] = t->label[i];
}

static bool same(const nbi_term *a, const nbi_term *b)
{
    return a->rank == b->rank && !memcmp(a->label, b->label, (size_t)a->rank);
}

static int find(const nbi_term *t, int label)
{
    int i = 0;
    while (i < t->rank && t->label[i] != label)
        i++;
    return i;
}

/* ---- one factor ------------------------------------------------------------------------------ */

/* Brings the axes into another order of the same labels. */
static void arrange(factor *f, const nbi_term *order)
{
    if (same(&f->t, order))
        return;
    nb_axes axes = {.count = order->rank};
    for (int i = 0; i < order->rank; i++)
        axes.axis[i] = find(&f->t, order->label[i]);
    f->x = nb_permute(f->x, axes);
    f->t = *order;
}

/* Axes i < j have one label: their diagonal becomes the last axis. */
static void take_diagonal(factor *f, int i, int j)
{
    nb_axes axes = {.count = f->t.rank};
    nbi_term rest = {0};
    const uint8_t label = f->t.label[i];
    for (int k = 0; k < f->t.rank; k++)
        if (k != i && k != j) {
            axes.axis[rest.rank] = k;
            rest.label[rest.rank++] = f->t.label[k];
        }
    axes.axis[rest.rank] = i;
    axes.axis[rest.rank + 1] = j;
    if (i + 2 < f->t.rank || j + 1 < f->t.rank)
        f->x = nb_permute(f->x, axes);
    f->x = nb_diagonal(f->x, 0);
    rest.label[rest.rank++] = label;
    f->t = rest;
}

static void take_diagonals(factor *f)
{
    for (int j = 1; j < f->t.rank; j++) {
        int i = find(&f->t, f->t.label[j]);
        if (i < j) {
            take_diagonal(f, i, j);
            j = 0;
        }
    }
}

/* Sums over the labels that are not asked for. */
static void sum_others(factor *f, uint64_t asked)
{
    nb_axes axes = {.count = 0};
    nbi_term rest = {0};
    append(&rest, &f->t, asked);
    for (int i = 0; i < f->t.rank; i++)
        if (!(asked & nbi_label_bit(f->t.label[i])))
            axes.axis[axes.count++] = i;
    if (axes.count)
        f->x = nb_sum_over(f->x, axes, false);
    f->t = rest;
}

/* Drops axes of size 1 whose label has another size in the other factor. */
static void drop_stretched(factor *f, const factor *other)
{
    nb_axes axes = {.count = 0};
    uint64_t dropped = 0;
    for (int i = 0; i < f->t.rank; i++) {
        int j = find(&other->t, f->t.label[i]);
        if (j < other->t.rank && nb_dim(f->x, i) != nb_dim(other->x, j) && nb_dim(f->x, i) == 1) {
            axes.axis[axes.count++] = i;
            dropped |= nbi_label_bit(f->t.label[i]);
        }
    }
    if (!dropped)
        return;
    nbi_term rest = {0};
    append(&rest, &f->t, ~dropped);
    f->x = nb_squeeze(f->x, axes);
    f->t = rest;
}

/* ---- two factors ----------------------------------------------------------------------------- */

/* f with an axis for each label of `order`, of size 1 where it lacks it. */
static nb_var stretchable(factor f, const nbi_term *order)
{
    nbi_term own = {0};
    nb_shape shape = {.rank = order->rank};
    append(&own, order, set_of(&f.t));
    arrange(&f, &own);
    for (int i = 0, at = 0; i < order->rank; i++)
        shape.dims[i] = at < own.rank && own.label[at] == order->label[i] ? nb_dim(f.x, at++) : 1;
    return nb_is_tensor(f.x) && own.rank < order->rank ? nb_reshape(f.x, shape) : f.x;
}

static nb_var shaped(nb_var x, nb_shape shape)
{
    return nb_shape_equal(nb_shape_of(x), shape) ? x : nb_reshape(x, shape);
}

/* Kinds of labels, each in its order. */
typedef struct kinds {
    nbi_term batch, outer[2], inner;
} kinds;

static int64_t size_of(const factor *f, const nbi_term *t)
{
    nb_shape s = {.rank = t->rank};
    for (int i = 0; i < t->rank; i++)
        s.dims[i] = nb_dim(f->x, find(&f->t, t->label[i]));
    return nb_shape_size(s);
}

/* Factor k as [batch outer inner] with one axis per kind, or as [batch inner outer]: says which. */
static nb_var as_matrices(factor f, const kinds *s, int k, bool *outer_first)
{
    nbi_term first = s->batch, second = s->batch;
    append(&first, &s->outer[k], ~UINT64_C(0));
    append(&first, &s->inner, ~UINT64_C(0));
    append(&second, &s->inner, ~UINT64_C(0));
    append(&second, &s->outer[k], ~UINT64_C(0));
    *outer_first = !same(&f.t, &second) || same(&f.t, &first);
    if (*outer_first)
        arrange(&f, &first);
    int64_t b = size_of(&f, &s->batch), o = size_of(&f, &s->outer[k]), i = size_of(&f, &s->inner);
    if (s->batch.rank)
        return shaped(f.x, *outer_first ? NB_SHAPE(b, o, i) : NB_SHAPE(b, i, o));
    return shaped(f.x, *outer_first ? NB_SHAPE(o, i) : NB_SHAPE(i, o));
}

/* Appends the sizes of t's labels to the shape. */
static void append_sizes(nb_shape *s, const factor *f, const nbi_term *t)
{
    for (int i = 0; i < t->rank; i++)
        s->dims[s->rank++] = nb_dim(f->x, find(&f->t, t->label[i]));
}

/* The product by matrix products: s->inner is not empty. */
static factor contract(const factor *f, const kinds *s)
{
    bool first[2];
    nb_var a = as_matrices(f[0], s, 0, &first[0]), b = as_matrices(f[1], s, 1, &first[1]);
    factor out = {.t = s->batch};
    nb_shape shape = {0};
    append(&out.t, &s->outer[0], ~UINT64_C(0));
    append(&out.t, &s->outer[1], ~UINT64_C(0));
    append_sizes(&shape, &f[0], &s->batch);
    append_sizes(&shape, &f[0], &s->outer[0]);
    append_sizes(&shape, &f[1], &s->outer[1]);
    if (out.t.rank == 0)
        out.x = nb_dot(nb_flatten(a), nb_flatten(first[0] == first[1] ? b : nb_transpose(b)));
    else
        out.x = shaped(nb_matmul_t(a, !first[0], b, first[1]), shape);
    return out;
}

/* The product of f[0] and f[1], axes in the order of `out`. Every label of theirs that is not in out
 * is in both. */
static factor multiply(factor *f, const nbi_term *out)
{
    const uint64_t asked = set_of(out);
    drop_stretched(&f[0], &f[1]);
    drop_stretched(&f[1], &f[0]);
    for (int k = 0; k < 2; k++)
        sum_others(&f[k], asked | set_of(&f[1 - k].t));
    uint64_t of[2] = {set_of(&f[0].t), set_of(&f[1].t)}, both = of[0] & of[1];
    if (!(both & ~asked)) {
        nb_var product = nb_mul(stretchable(f[0], out), stretchable(f[1], out));
        return (factor){product, *out};
    }
    nbi_term alone = {0};
    append(&alone, out, ~both);
    if (alone.rank && !(of[0] & nbi_label_bit(alone.label[0]))) {
        const factor swapped = f[0];
        f[0] = f[1];
        f[1] = swapped;
    }
    kinds s = {{0}, {{0}, {0}}, {0}};
    append(&s.batch, out, both);
    append(&s.inner, &f[0].t, both & ~asked);
    for (int k = 0; k < 2; k++)
        append(&s.outer[k], out, set_of(&f[k].t) & ~both);
    factor product = contract(f, &s);
    arrange(&product, out);
    return product;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* The labels of the product of f[0] and f[1] that are asked for. False if they are too many. */
static bool intermediate(const factor *f, uint64_t asked, nbi_term *out)
{
    uint64_t one = set_of(&f[0].t), two = set_of(&f[1].t) & ~one;
    if (__builtin_popcountll((one | two) & asked) > NB_MAX_RANK)
        return false;
    *out = (nbi_term){0};
    append(out, &f[0].t, asked);
    append(out, &f[1].t, two & asked);
    return true;
}

static nb_var compute(const nb_call *c, const nbi_formula *s)
{
    factor f[2] = {{c->vars[0], s->in[0]}};
    uint64_t later[NBI_FACTORS]; /* asked for after operand k */
    uint64_t asked = set_of(&s->out);
    for (size_t k = c->n_in; k-- > 0;) {
        later[k] = asked;
        asked |= set_of(&s->in[k]);
    }
    take_diagonals(&f[0]);
    for (size_t k = 1; k < c->n_in; k++) {
        nbi_term out = s->out;
        f[1] = (factor){c->vars[k], s->in[k]};
        take_diagonals(&f[1]);
        if (k + 1 < c->n_in && !intermediate(f, later[k], &out)) {
            nb_refuse(c, NB_ERR_SHAPE, "a product on the way has too many axes",
                      "that of the first %zu operands", k + 1);
            return nbi_inert(c->tape);
        }
        f[0] = multiply(f, &out);
    }
    sum_others(&f[0], set_of(&s->out));
    arrange(&f[0], &s->out);
    if (s->out.rank == 0)
        return nb_is_tensor(f[0].x) ? nb_sum(f[0].x) : f[0].x;
    const bool own =
        f[0].x.index == c->vars[0].index; /* then nothing was done: a node all the same */
    return own ? nb_reshape(f[0].x, nb_shape_of(f[0].x)) : f[0].x;
}

nb_var nb_einsum_of(const char *formula, size_t n, const nb_var *x)
{
    static const nb_op einsum = {.name = "einsum"};
    nb_var inert, vars[NBI_FACTORS];
    nb_tape *t = x ? nbi_home(einsum.name, n, x, &inert) : NULL;
    if (!t)
        return x ? inert : NB_NONE;
    if (!formula || n > NBI_FACTORS) {
        nbi_fail(t, NB_ERR_ARGUMENT, "einsum: %s",
                 formula ? "more than 16 operands" : "the formula is NULL");
        return nbi_inert(t);
    }
    nb_mark before = nbi_mark(t);
    for (size_t k = 0; k < n; k++)
        vars[k] = x[k].tape ? x[k] : nb_constant(t, nbi_number(x[k]));
    nb_call c = {.tape = t, .op = &einsum, .n_in = n, .vars = vars};
    nbi_formula f;
    nb_var out = nbi_formula_read(&c, formula, &f) ? compute(&c, &f) : nbi_inert(t);
    if (!nb_ok(out))
        nbi_truncate(t, &before);
    return out;
}

nb_var(nb_trace_product)(nb_var a, nb_var b) { return nb_einsum("...ij,...ji->...", a, b); }
