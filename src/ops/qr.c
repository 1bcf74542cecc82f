/*
 * A = Q R: orthonormal columns times an upper triangle with a positive diagonal.
 *
 *     A [m n], m >= n;     Q [m n], Q' Q = 1;     R [n n]
 *
 * Differentiate: dA = dQ R + Q dR. With W = dA R^-1 and the skew matrix X = Q' dQ,
 *
 *     Q' W = X + dR R^-1
 *
 * where the last term is upper triangular: so X below its diagonal is that of Q' W, and skewness
 * gives the rest. Transposing this, with gQ, gR the adjoints and M = R gR' - gQ' Q:
 *
 *     dA^* = (gQ + Q sym(M)) R^-T       sym(M): M's lower triangle, mirrored above the diagonal
 *
 * (gR is met only where R can move: M's lower triangle does not contain what gR has below the
 * diagonal.) R^-T from the right is a triangular system. If A does not have full rank R has a zero
 * on its diagonal, there is no derivative, and that system says so.
 */
#include "ops/decomposition.h"

#include "kernels/reduce.h"
#include "kernels/spectral.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

static nb_code qr_shape(const nb_call *c, nb_shape *out)
{
    if (!nbi_needs_matrix(c))
        return NB_ERR_SHAPE;
    const int64_t m = c->in[0].dims[c->in[0].rank - 2], n = c->in[0].dims[c->in[0].rank - 1];
    int64_t rows;
    if (m < n)
        return nb_refuse(c, NB_ERR_SHAPE, "the matrix has more columns than rows",
                         "%lld rows, %lld columns", (long long)m, (long long)n);
    return nbi_packed_shape(c, __builtin_add_overflow(m, n, &rows) ? -1 : rows, n, out);
}

/* Matrix b. room has (2 m + n + 1) n numbers. */
static void decompose(const nb_call *c, int64_t m, int64_t n, int64_t b, double *room)
{
    double *a = room, *w = a + m * n, *r = w + m * n, *work = r + n * n;
    const int64_t to = b * (m + n) * n;
    nbi_get(c->in[0].dtype, c->in[0].data, b * m * n, m * n, a);
    if (!nbi_finite(m * n, a)) {
        nbi_put_nan(c->out, to, (m + n) * n);
        return;
    }
    nbi_transposed(m, n, a, w);
    nbi_qr(m, n, w, a, r, work);
    nbi_transposed(n, m, a, w);
    nbi_put(c->out->dtype, c->out->data, to, m * n, w);
    nbi_put(c->out->dtype, c->out->data, to + m * n, n * n, r);
}

static nb_code qr_forward(const nb_call *c)
{
    const nb_array *a = &c->in[0];
    const int64_t m = a->dims[a->rank - 2], n = a->dims[a->rank - 1], count = nbi_entries(a, 2);
    nbi_spot spot = c->tape->scratch.at;
    if (c->out->size == 0)
        return NB_OK;
    double *room = nbi_scratch_doubles(c, 2 * m + n + 1, n);
    for (int64_t b = 0; b < count && room; b++)
        decompose(c, m, n, b, room);
    nbi_give_back(&c->tape->scratch, spot);
    return room ? NB_OK : nb_status(c->tape);
}

static nb_var q_of(nb_var packed)
{
    const int64_t n = nb_dim(packed, -1);
    return nbi_packed_part(packed, 0, nb_dim(packed, -2) - n);
}

static nb_var r_of(nb_var packed)
{
    const int64_t n = nb_dim(packed, -1);
    return nbi_packed_part(packed, nb_dim(packed, -2) - n, n);
}

static nb_code qr_reverse(const nb_rule *rule)
{
    if (nb_size(rule->out) == 0)
        return NB_OK;
    nb_var q = q_of(rule->out), r = r_of(rule->out), gq = q_of(rule->g), gr = r_of(rule->g);
    nb_var m = nb_sub(nb_matmul_t(r, false, gr, true), nb_matmul_t(gq, true, q, false));
    nb_var mirrored = nb_add(nb_lower(m, 0), nb_transpose(nb_lower(m, -1)));
    nb_var sum = nb_add(gq, nb_matmul(q, mirrored));
    rule->d[0] = nb_transpose(nb_solve_triangular(r, nb_transpose(sum), NB_UPPER));
    return NB_OK;
}

static nb_var decomposed(nb_var a);

/* Besides, 3 on the diagonal: far from singular. */
static nb_var regular(nb_sampler *s, nb_shape shape)
{
    nb_tape *t = nb_sample_tape(s);
    nb_var eye = nb_eye(t, shape.dims[shape.rank - 2], shape.dims[shape.rank - 1]);
    return nb_add(nb_sample(s, shape, -1, 1), nb_mul(3, eye));
}

static nb_var qr_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return decomposed(regular(s, NB_SHAPE(3, 3)));
    case 1: return decomposed(regular(s, NB_SHAPE(5, 2)));
    case 2: return decomposed(regular(s, NB_SHAPE(1, 1)));
    case 3: return decomposed(regular(s, NB_SHAPE(4, 1)));
    case 4: return decomposed(regular(s, NB_SHAPE(2, 1, 3, 2)));
    case 5: return decomposed(nb_sample(s, NB_SHAPE(4, 3), -2, 2));
    case 6: return decomposed(nb_sample(s, NB_SHAPE(3, 0), -2, 2));
    case 7: return decomposed(nb_sample(s, NB_SHAPE(0, 3, 2), -2, 2));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_qr = {
    .name = "qr",
    .doc = "orthonormal columns Q, and below them an upper triangle R, whose product is the matrix",
    .shape = qr_shape,
    .forward = qr_forward,
    .reverse = qr_reverse,
    .sample = qr_sample,
};

static nb_var decomposed(nb_var a) { return nb_apply(&nbi_op_qr, 1, &a, NULL, 0); }

nb_code(nb_qr)(nb_var a, nb_var *q, nb_var *r)
{
    nb_var both = decomposed(a);
    const int64_t m = nb_dim(a, -2), n = nb_dim(a, -1);
    nb_code first = nbi_give_part(both, 0, m, q);
    nb_code second = nbi_give_part(both, m, n, r);
    return first ? first : second;
}
