/*
 * The exponential of a matrix and its derivative, two operations closed under differentiation.
 *
 *     X = e^A = sum of A^k / k!,     L(A, E) = sum over k of 1/k! sum over i + j = k - 1 of A^i E A^j
 *
 * L is the derivative of e^A along E. Since <G, A^i E A^j> = <A'^i G A'^j, E>, its adjoint is the
 * same operation at the transposed matrix:
 *
 *     expm     dA^* = L(A', G)           tangent L(A, tA)
 *     L        dE^* = L(A', G)           tangent L(A, tE), and for A see below
 *
 * L is linear in E; its derivative by A is the second derivative D(A; E, F) of the exponential along
 * E and F. A function of a block triangle holds the derivative in its corner, as A + E with E^2 = 0
 * would, so that
 *
 *       [A E]      [e^A L]                        [A E]   [F 0]
 *     e^[0 A]  =   [0 e^A]     and     D  =  L (  [0 A] , [0 F]  )   upper right corner.
 *
 * By the argument above, term by term, its adjoint is dA^* = D(A'; E', G). What is bilinear in E may
 * be computed for E / c and multiplied by c; with c the greatest element of E the size of the block
 * does not depend on E, and E cannot drown A in rounding.
 */
#include "kernels/exponential.h"
#include "kernels/reduce.h"
#include "ops/decomposition.h"
#include "ops/factored.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

/* ---- over arrays ----------------------------------------------------------------------------- */

typedef struct memory {
    nbi_factor f;
    double *a, *e, *x, *l, *room;
    int64_t *exchange;
} memory;

/* For matrices [n n]; e and l only to derive. */
static bool open_memory(const nb_call *c, int64_t n, bool derive, memory *m)
{
    const int64_t room = nbi_exponential_room(n, derive);
    m->a = nbi_scratch_doubles(c, n, n);
    m->x = m->a ? nbi_scratch_doubles(c, n, n) : NULL;
    m->e = m->x && derive ? nbi_scratch_doubles(c, n, n) : NULL;
    m->l = m->e ? nbi_scratch_doubles(c, n, n) : NULL;
    m->room =
        m->x && (m->l || !derive) ? nbi_scratch_doubles(c, room < 0 ? INT64_MAX : room, 1) : NULL;
    m->exchange = m->room ? nbi_scratch(c->tape, (size_t)n * sizeof *m->exchange) : NULL;
    if (m->room && !m->exchange)
        nbi_no_memory(c->tape, c->op->name);
    return m->exchange && nbi_factor_work(c, n, n, &m->f);
}

/* Matrix b: e^a, or along e. */
static void compute(const nb_call *c, int64_t n, int64_t b, const memory *m)
{
    const int64_t nn = n * n;
    nbi_get(c->in[0].dtype, c->in[0].data, b * nn, nn, m->a);
    if (m->e)
        nbi_get(c->in[1].dtype, c->in[1].data, b * nn, nn, m->e);
    if (!nbi_finite(nn, m->a) || (m->e && !nbi_finite(nn, m->e))) {
        nbi_put_nan(c->out, b * nn, nn);
        return;
    }
    nbi_exponential(&m->f, n, m->a, m->e, m->x, m->l, m->room, m->exchange);
    nbi_put(c->out->dtype, c->out->data, b * nn, nn, m->e ? m->l : m->x);
}

static nb_code forward(const nb_call *c)
{
    const bool derive = c->n_in == 2;
    const int64_t n = nbi_order(&c->in[0]), count = nbi_entries(&c->in[0], 2);
    nbi_spot spot = c->tape->scratch.at;
    memory m;
    if (c->out->size == 0)
        return NB_OK;
    const bool room = open_memory(c, n, derive, &m);
    for (int64_t b = 0; b < count && room; b++)
        compute(c, n, b, &m);
    nbi_give_back(&c->tape->scratch, spot);
    return room ? NB_OK : nb_status(c->tape);
}

/* ---- graph code ------------------------------------------------------------------------------ */

/* [a e; 0 a] */
static nb_var block(nb_var a, nb_var e)
{
    nb_var zero = nb_zeros(a.tape, nb_shape_of(a));
    nb_var upper[] = {a, e}, lower[] = {zero, a};
    nb_var rows[] = {nb_concat(2, upper, -1), nb_concat(2, lower, -1)};
    return nb_concat(2, rows, -2);
}

/* D(a; e, f) */
static nb_var second(nb_var a, nb_var e, nb_var f)
{
    const int64_t n = nb_dim(a, -1);
    nb_var size = nb_amax_over(nb_abs(nb_detach(e)), NB_AXES(-2, -1), true);
    nb_var c = nb_where(nb_eq(size, 0), 1, size);
    nb_var zero = nb_zeros(a.tape, nb_shape_of(a));
    nb_var whole = nb_expm_along(block(a, nb_div(e, c)), block(f, zero));
    nb_var corner = nb_slice(nb_slice(whole, -2, 0, n, 1), -1, n, 2 * n, 1);
    return nb_mul(c, corner);
}

/* ---- expm ------------------------------------------------------------------------------------ */

static nb_code expm_shape(const nb_call *c, nb_shape *out)
{
    (void)out; /* that of a */
    return nbi_needs_square(c) ? NB_OK : NB_ERR_SHAPE;
}

static nb_code expm_reverse(const nb_rule *r)
{
    r->d[0] = nb_expm_along(nb_transpose(r->in[0]), r->g);
    return NB_OK;
}

static nb_code expm_tangent(const nb_rule *r)
{
    r->d[0] = nb_expm_along(r->in[0], r->t[0]);
    return NB_OK;
}

static nb_var expm_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_expm(nb_sample(s, NB_SHAPE(3, 3), -1, 1));
    case 1: return nb_expm(nb_sample(s, NB_SHAPE(2, 2), -4, 4));
    case 2: return nb_expm(nb_sample(s, NB_SHAPE(1, 1), -2, 2));
    case 3: return nb_expm(nb_sample(s, NB_SHAPE(2, 1, 2, 2), -0.1, 0.1));
    case 4: return nb_expm(nb_sample(s, NB_SHAPE(4, 4), -0.2, 0.2));
    case 5: return nb_expm(nb_sample(s, NB_SHAPE(0, 2, 2), -1, 1));
    case 6: return nb_expm(nb_sample(s, NB_SHAPE(2, 0, 0), -1, 1));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_expm = {
    .name = "expm",
    .doc = "the exponential of a matrix",
    .shape = expm_shape,
    .forward = forward,
    .reverse = expm_reverse,
    .tangent = expm_tangent,
    .sample = expm_sample,
};

nb_var(nb_expm)(nb_var a) { return nb_apply(&nbi_op_expm, 1, &a, NULL, 0); }

/* ---- its derivative along a direction -------------------------------------------------------- */

static nb_code along_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *e = &c->in[1];
    if (!nbi_needs_square(c))
        return NB_ERR_SHAPE;
    bool same = e->rank == out->rank;
    for (int i = 0; same && i < e->rank; i++)
        same = e->dims[i] == out->dims[i];
    return same ? NB_OK : nb_refuse(c, NB_ERR_SHAPE, "the operands differ in shape", NULL);
}

static nb_code along_reverse(const nb_rule *r)
{
    if (nb_size(r->out) == 0)
        return NB_OK;
    nb_var turned = nb_transpose(r->in[0]);
    if (r->want[0])
        r->d[0] = second(turned, nb_transpose(r->in[1]), r->g);
    if (r->want[1])
        r->d[1] = nb_expm_along(turned, r->g);
    return NB_OK;
}

static nb_code along_tangent(const nb_rule *r)
{
    if (nb_size(r->out) == 0)
        return NB_OK;
    if (r->want[0])
        r->d[0] = second(r->in[0], r->in[1], r->t[0]);
    if (r->want[1]) {
        nb_var own = nb_expm_along(r->in[0], r->t[1]);
        r->d[0] = r->want[0] ? nb_add(r->d[0], own) : own;
    }
    return NB_OK;
}

static nb_var along_sample(nb_sampler *s, int k)
{
    static const nb_shape shape[] = {
        {2, {2, 2}}, {2, {1, 1}}, {2, {3, 3}}, {3, {2, 2, 2}}, {3, {0, 2, 2}}, {2, {0, 0}},
    };
    if (k >= (int)(sizeof shape / sizeof *shape))
        return NB_NONE;
    nb_var a = nb_sample(s, shape[k], -1, 1);
    return nb_expm_along(a, nb_sample(s, shape[k], -1, 1));
}

const nb_op nbi_op_expm_along = {
    .name = "expm_along",
    .doc = "the derivative of the exponential of a matrix along a direction",
    .shape = along_shape,
    .forward = forward,
    .reverse = along_reverse,
    .tangent = along_tangent,
    .sample = along_sample,
};

nb_var(nb_expm_along)(nb_var a, nb_var e)
{
    return nb_apply(&nbi_op_expm_along, 2, (nb_var[]){a, e}, NULL, 0);
}
