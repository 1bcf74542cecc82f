/*
 * Eigenvalues and eigenvectors of the symmetric part of a matrix.
 *
 *     S = (A + A') / 2,     S V = V L,     V' V = 1,     L = diag(l), ascending
 *
 * Differentiate, and multiply by V' from the left. With the skew matrix W = V' dV (since V' V = 1)
 * and M = V' dS V:
 *
 *     M + L W = W L + dL,     so     dl[i] = M[i, i],     W[i, j] = M[i, j] / (l[j] - l[i]),  i != j
 *
 * that is dV = V (E o M), with o the product of elements and E[i, j] = 1 / (l[j] - l[i]), 0 on the
 * diagonal. (decomposition.h says what E is where two values meet.) Transposed, with gl and gV the
 * adjoints of l and V:
 *
 *     <gl, dl> + <gV, dV> = <diag(gl) + E o V' gV, V' dS V>
 *     dS^* = V (diag(gl) + E o V' gV) V',     dA^* = (dS^* + dS^*') / 2
 *
 * From values alone, V diag(gl) V', no gap comes in: repeated eigenvalues do no harm then.
 */
#include "ops/decomposition.h"

#include "kernels/reduce.h"
#include "kernels/spectral.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

static nb_code eigh_shape(const nb_call *c, nb_shape *out)
{
    if (!nbi_needs_square(c))
        return NB_ERR_SHAPE;
    int64_t n = c->in[0].dims[c->in[0].rank - 1], rows;
    return nbi_packed_shape(c, __builtin_add_overflow(n, 1, &rows) ? -1 : rows, n, out);
}

/* The symmetric part of matrix b, whose halves do not overflow. */
static void load(const nb_call *c, int64_t n, int64_t b, double *a)
{
    nbi_get(c->in[0].dtype, c->in[0].data, b * n * n, n * n, a);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            a[i * n + j] = a[j * n + i] = a[i * n + j] / 2 + a[j * n + i] / 2;
}

/* Matrix b. room has (2 n + 3) n numbers. */
static nb_code decompose(const nb_call *c, int64_t n, int64_t b, double *room)
{
    double *a = room, *v = a + n * n, *values = v + n * n, *work = values + n;
    const int64_t to = b * (n + 1) * n;
    load(c, n, b, a);
    if (!nbi_finite(n * n, a)) {
        nbi_put_nan(c->out, to, (n + 1) * n);
        return NB_OK;
    }
    if (!nbi_eigh(n, a, values, v, work, NBI_ROUNDS))
        return nbi_no_convergence(c, b);
    nbi_transposed(n, n, v, a);
    nbi_put(c->out->dtype, c->out->data, to, n * n, a);
    nbi_put(c->out->dtype, c->out->data, to + n * n, n, values);
    return NB_OK;
}

static nb_code eigh_forward(const nb_call *c)
{
    const int64_t n = nbi_order(&c->in[0]), count = nbi_entries(&c->in[0], 2);
    nbi_spot spot = c->tape->scratch.at;
    if (c->out->size == 0)
        return NB_OK;
    double *room = nbi_scratch_doubles(c, 2 * n + 3, n);
    nb_code code = room ? NB_OK : nb_status(c->tape);
    for (int64_t b = 0; b < count && code == NB_OK; b++)
        code = decompose(c, n, b, room);
    nbi_give_back(&c->tape->scratch, spot);
    return code;
}

/* The parts of the result, or of its adjoint. */
static nb_var vectors_of(nb_var packed) { return nbi_packed_part(packed, 0, nb_dim(packed, -1)); }
static nb_var values_of(nb_var packed) { return nbi_packed_row(packed, nb_dim(packed, -1)); }

static nb_var symmetric(nb_var x) { return nb_mul(0.5, nb_add(x, nb_transpose(x))); }

static nb_code eigh_reverse(const nb_rule *r)
{
    if (nb_size(r->out) == 0)
        return NB_OK;
    nb_var v = vectors_of(r->out), gv = vectors_of(r->g), gl = values_of(r->g);
    nb_var e = nbi_inverse_gaps(values_of(r->out), nb_dim(v, -1));
    nb_var turned = nb_chain(nb_matmul_t(v, true, gv, false), e);
    nb_var s = nb_matmul(v, nb_add(nb_diag(gl, 0), turned));
    r->d[0] = symmetric(nb_matmul_t(s, false, v, true));
    return NB_OK;
}

static nb_code eigh_tangent(const nb_rule *r)
{
    if (nb_size(r->out) == 0)
        return NB_OK;
    nb_var v = vectors_of(r->out), e = nbi_inverse_gaps(values_of(r->out), nb_dim(v, -1));
    nb_var m = nb_matmul(nb_matmul_t(v, true, symmetric(r->t[0]), false), v);
    nb_var parts[] = {nb_matmul(v, nb_chain(m, e)), nb_unsqueeze(nb_diagonal(m, 0), -2)};
    r->d[0] = nb_concat(2, parts, -2);
    return NB_OK;
}

static nb_var decomposed(nb_var a);

/* A matrix with 2, 4, … on the diagonal besides, so that the values stand apart. */
static nb_var apart(nb_sampler *s, nb_shape shape)
{
    int64_t n = shape.dims[shape.rank - 1];
    nb_var ramp = nb_mul(2, nb_arange(nb_sample_tape(s), 0, (double)n, 1));
    return nb_add(nb_sample(s, shape, -1, 1), nb_diag(ramp, 0));
}

static nb_var eigh_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return decomposed(apart(s, NB_SHAPE(3, 3)));
    case 1: return decomposed(apart(s, NB_SHAPE(2, 2)));
    case 2: return decomposed(apart(s, NB_SHAPE(1, 1)));
    case 3: return decomposed(apart(s, NB_SHAPE(5, 5)));
    case 4: return decomposed(apart(s, NB_SHAPE(2, 1, 3, 3)));
    case 5: return decomposed(nb_sample(s, NB_SHAPE(4, 4), -2, 2));
    case 6: return decomposed(nb_sample(s, NB_SHAPE(2, 0, 0), -2, 2));
    case 7: return decomposed(nb_sample(s, NB_SHAPE(0, 2, 2), -2, 2));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_eigh = {
    .name = "eigh",
    .doc = "eigenvectors of a symmetric matrix in columns, below them the eigenvalues, ascending",
    .shape = eigh_shape,
    .forward = eigh_forward,
    .reverse = eigh_reverse,
    .tangent = eigh_tangent,
    .sample = eigh_sample,
};

static nb_var decomposed(nb_var a) { return nb_apply(&nbi_op_eigh, 1, &a, NULL, 0); }

nb_code(nb_eigh)(nb_var a, nb_var *values, nb_var *vectors)
{
    nb_var both = decomposed(a);
    int64_t n = nb_dim(both, -1);
    nb_code first = nbi_give_part(both, n, -1, values);
    nb_code second = nbi_give_part(both, 0, n, vectors);
    return first ? first : second;
}

nb_var(nb_eigvalsh)(nb_var a)
{
    nb_var values;
    return nb_eigh(a, &values, NULL), values;
}
