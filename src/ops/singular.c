/*
 * Singular values and vectors.
 *
 *     A = U S V',     U' U = V' V = 1,     S = diag(s), descending     A [m n], k = min(m, n) values
 *
 * Differentiate, and look at U' dA V with the skew matrices X = U' dU and Y = V' dV:
 *
 *     P = U' dA V = X S + dS - S Y        ds[i] = P[i, i]
 *
 * Off the diagonal, P S + S P' = X S^2 - S^2 X and S P + P' S = Y S^2 - S^2 Y, whence
 *
 *     X[i, j] = (P[i, j] s[j] + s[i] P[j, i]) / (s[j]^2 - s[i]^2),    Y alike with s[i], s[j] swapped
 *
 * and dU = U X, plus, if A has more rows than columns, what leaves the span of U:
 * (1 - U U') dA V S^-1. Transposed, with the skew K = U' gU - gU' U and L = V' gV - gV' V:
 *
 *     dA^* = U (diag(gs) + E o (K o C + L o C')) V'     E[i, j] = 1 / (s[j] - s[i])
 *          + (1 - U U') gU S^-1 V'     if m > n         C[i, j] = s[j] / (s[j] + s[i])
 *          + U S^-1 gV' (1 - V V')     if m < n
 *
 * The factor 1 / (s[j]^2 - s[i]^2) times s[j] is E C: no square can overflow. E is 0 where two values
 * meet, and S^-1 where s is negligible (decomposition.h).
 *
 * A value of exactly 0 is at a kink, for it is the size of something: its slope is 0, the
 * subgradient of least norm. From values alone dA^* = U diag(gs) V', where no gap comes in.
 */
#include "ops/decomposition.h"

#include "kernels/reduce.h"
#include "kernels/spectral.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

/* m rows, n columns, k values: the packed parts are U [m k], V [n k] and one row of values. */
typedef struct sizes {
    int64_t m, n, k;
} sizes;

static sizes sizes_of(int64_t m, int64_t n) { return (sizes){m, n, m < n ? m : n}; }

static sizes sizes_in(const nb_array *a)
{
    return sizes_of(a->dims[a->rank - 2], a->dims[a->rank - 1]);
}

static nb_code svd_shape(const nb_call *c, nb_shape *out)
{
    if (!nbi_needs_matrix(c))
        return NB_ERR_SHAPE;
    const sizes s = sizes_in(&c->in[0]);
    int64_t rows;
    bool over = __builtin_add_overflow(s.m, s.n, &rows);
    over |= __builtin_add_overflow(rows, 1, &rows);
    return nbi_packed_shape(c, over ? -1 : rows, s.k, out);
}

/* Matrix b, or if it is wide its transpose, whose U is V. room has (2 (m + n) + 1) k numbers,
 * and needs 2 m n + k^2 + k. */
static nb_code decompose(const nb_call *c, sizes s, int64_t b, double *room)
{
    const nb_array *out = c->out;
    const bool tall = s.m >= s.n;
    const int64_t to = b * (s.m + s.n + 1) * s.k, longer = tall ? s.m : s.n;
    double *a = room, *w = a + s.m * s.n, *v = w + s.m * s.n, *values = v + s.k * s.k;
    nbi_get(c->in[0].dtype, c->in[0].data, b * s.m * s.n, s.m * s.n, a);
    if (!nbi_finite(s.m * s.n, a)) {
        nbi_put_nan(out, to, (s.m + s.n + 1) * s.k);
        return NB_OK;
    }
    if (tall)
        nbi_transposed(s.m, s.n, a, w);
    else
        memcpy(w, a, (size_t)(s.m * s.n) * sizeof *w);
    if (!nbi_svd(longer, s.k, w, values, v, NBI_ROUNDS))
        return nbi_no_convergence(c, b);
    nbi_transposed(s.k, longer, w, a);
    nbi_put(out->dtype, out->data, to + (tall ? 0 : s.m * s.k), longer * s.k, a);
    nbi_transposed(s.k, s.k, v, a);
    nbi_put(out->dtype, out->data, to + (tall ? s.m * s.k : 0), s.k * s.k, a);
    nbi_put(out->dtype, out->data, to + (s.m + s.n) * s.k, s.k, values);
    return NB_OK;
}

static nb_code svd_forward(const nb_call *c)
{
    const sizes s = sizes_in(&c->in[0]);
    const int64_t count = nbi_entries(&c->in[0], 2);
    nbi_spot spot = c->tape->scratch.at;
    if (c->out->size == 0)
        return NB_OK;
    double *room = nbi_scratch_doubles(c, 2 * (s.m + s.n) + 1, s.k);
    nb_code code = room ? NB_OK : nb_status(c->tape);
    for (int64_t b = 0; b < count && code == NB_OK; b++)
        code = decompose(c, s, b, room);
    nbi_give_back(&c->tape->scratch, spot);
    return code;
}

/* ---- graph code ------------------------------------------------------------------------------ */

typedef struct parts {
    nb_var u, v, values;
} parts;

static parts parts_of(nb_var packed, sizes s)
{
    return (parts){nbi_packed_part(packed, 0, s.m), nbi_packed_part(packed, s.m, s.n),
                   nbi_packed_row(packed, s.m + s.n)};
}

/* x' y - y' x, and what of y is not in the span of x's columns. */
static nb_var skew(nb_var x, nb_var y)
{
    nb_var inner = nb_matmul_t(x, true, y, false);
    return nb_sub(inner, nb_transpose(inner));
}

static nb_var outside(nb_var x, nb_var y)
{
    return nb_sub(y, nb_matmul(x, nb_matmul_t(x, true, y, false)));
}

/* E o (K o C + L o C') */
static nb_var turning(parts p, parts g, int64_t size)
{
    nb_var row = nb_unsqueeze(p.values, -2), column = nb_unsqueeze(p.values, -1),
           sum = nb_add(row, column);
    nb_var share = nb_mul(row, nbi_inverse_but(nb_eq(sum, 0), sum));
    nb_var k = nb_mul(skew(p.u, g.u), share), l = nb_mul(skew(p.v, g.v), nb_transpose(share));
    return nb_mul(nb_add(k, l), nbi_inverse_gaps(p.values, size));
}

static nb_code svd_reverse(const nb_rule *r)
{
    if (nb_size(r->out) == 0)
        return NB_OK;
    const sizes s = sizes_of(nb_dim(r->in[0], -2), nb_dim(r->in[0], -1));
    const int64_t size = s.m > s.n ? s.m : s.n;
    parts p = parts_of(r->out, s), g = parts_of(r->g, s);
    nb_var slope = nb_where(nb_eq(p.values, 0), 0, g.values);
    nb_var middle = nb_add(nb_diag(slope, 0), turning(p, g, size));
    nb_var d = nb_matmul_t(nb_matmul(p.u, middle), false, p.v, true);
    if (s.m != s.n) {
        nb_var inverse = nbi_inverse_but(nbi_negligible(p.values, p.values, size), p.values);
        nb_var rest = s.m > s.n ? outside(p.u, g.u) : outside(p.v, g.v);
        rest = nb_mul(rest, nb_unsqueeze(inverse, -2));
        d = nb_add(d, s.m > s.n ? nb_matmul_t(rest, false, p.v, true)
                                : nb_matmul_t(p.u, false, rest, true));
    }
    r->d[0] = d;
    return NB_OK;
}

static nb_var decomposed(nb_var a) { return nb_apply(&nbi_op_svd, 1, &a, NULL, 0); }

/* Besides, 1, 3, 5, … on the diagonal, so that the values stand apart. */
static nb_var apart(nb_sampler *s, nb_shape shape)
{
    nb_tape *t = nb_sample_tape(s);
    const sizes z = sizes_of(shape.dims[shape.rank - 2], shape.dims[shape.rank - 1]);
    nb_var ramp = nb_diag(nb_add(1, nb_mul(2, nb_arange(t, 0, (double)z.k, 1))), 0);
    ramp = nb_pad(nb_pad(ramp, 0, 0, z.m - z.k, 0), 1, 0, z.n - z.k, 0);
    return nb_add(nb_sample(s, shape, -0.5, 0.5), ramp);
}

static nb_var svd_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return decomposed(apart(s, NB_SHAPE(3, 3)));
    case 1: return decomposed(apart(s, NB_SHAPE(4, 2)));
    case 2: return decomposed(apart(s, NB_SHAPE(2, 5)));
    case 3: return decomposed(apart(s, NB_SHAPE(1, 1)));
    case 4: return decomposed(apart(s, NB_SHAPE(1, 3)));
    case 5: return decomposed(apart(s, NB_SHAPE(3, 1)));
    case 6: return decomposed(apart(s, NB_SHAPE(2, 1, 3, 2)));
    case 7: return decomposed(nb_sample(s, NB_SHAPE(3, 4), -2, 2));
    case 8: return decomposed(nb_sample(s, NB_SHAPE(3, 0), -2, 2));
    case 9: return decomposed(nb_sample(s, NB_SHAPE(0, 2, 3), -2, 2));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_svd = {
    .name = "svd",
    .doc = "left and right singular vectors in columns, below them the singular values, descending",
    .shape = svd_shape,
    .forward = svd_forward,
    .reverse = svd_reverse,
    .sample = svd_sample,
};

nb_code(nb_svd)(nb_var a, nb_var *u, nb_var *values, nb_var *v)
{
    nb_var all = decomposed(a);
    const int64_t m = nb_ok(all) ? nb_dim(a, -2) : 0, n = nb_ok(all) ? nb_dim(a, -1) : 0;
    nb_code one = nbi_give_part(all, 0, m, u);
    nb_code two = nbi_give_part(all, m + n, -1, values);
    nb_code three = nbi_give_part(all, m, n, v);
    return one ? one : two ? two : three;
}

nb_var(nb_svdvals)(nb_var a)
{
    nb_var values;
    return nb_svd(a, NULL, &values, NULL), values;
}
