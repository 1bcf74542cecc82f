/*
 * nabla/ops.h: every operation, with what it computes.
 *
 * Elementwise operations take scalars and tensors alike, mix them freely and broadcast as NumPy
 * does: shapes are aligned at the last axis, and an axis of size 1 stretches. Where a function takes
 * two or more operands, plain numbers mix in: nb_add(2, x), nb_pow(x, 0.5f).
 *
 * At a kink the derivative is the subgradient of least norm (0 for relu and abs at 0) unless said;
 * outside the domain value and derivative are NaN; NaN is never laundered; and an adjoint that is
 * exactly 0 contributes exactly 0, even through an infinite slope.
 *
 * Every name is a real function; the macros at the end of a section, which let numbers mix in,
 * shadow it. Compile with NB_LOCATE defined to have file and line in error messages.
 */
#ifndef NABLA_OPS_H
#define NABLA_OPS_H

#include <nabla/inline.h>

/* What the macros make of an operand: the first one also says where the call stands. */
#ifdef __cplusplus
#define NBI_VAR(x) nb_var(x)
#else
#define NBI_VAR(x) _Generic((x), nb_var : nbi_same, float : nbi_num_f32, default : nb_num)(x)
#endif
#ifdef NB_LOCATE
static inline void nbi_located_list(size_t n, const nb_var *x, const char *file, int line)
{
    for (size_t k = 0; x && k < n; k++)
        nb_located(x[k], file, line);
}
#define NBI_FIRST(x) nb_located(NBI_VAR(x), __FILE__, __LINE__)
#else
#define NBI_FIRST(x) NBI_VAR(x)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- arithmetic ------------------------------------------------------------------------------ */

NB_API nb_var nb_add(nb_var x, nb_var y);
NB_API nb_var nb_sub(nb_var x, nb_var y);
NB_API nb_var nb_mul(nb_var x, nb_var y);
NB_API nb_var nb_div(nb_var x, nb_var y);
NB_API nb_var nb_fma(nb_var x, nb_var y, nb_var z); /* x y + z, rounded once */
NB_API nb_var nb_neg(nb_var x);
NB_API nb_var nb_recip(nb_var x);          /* 1 / x */
NB_API nb_var nb_pow(nb_var x, nb_var y);  /* differentiable in both */
NB_API nb_var nb_powi(nb_var x, nb_var n); /* n a whole number, taken as constant */
NB_API nb_var nb_square(nb_var x);
NB_API nb_var nb_sqrt(nb_var x);
NB_API nb_var nb_rsqrt(nb_var x); /* 1 / sqrt x */
NB_API nb_var nb_cbrt(nb_var x);
NB_API nb_var nb_hypot(nb_var x, nb_var y); /* sqrt(x^2 + y^2), no overflow; slopes 0 at 0 */
NB_API nb_var nb_fmod(nb_var x, nb_var y);  /* remainder of x / y truncated */
/* a b where a is not 0, and exactly 0 where it is, whatever b: the product of the chain rule. */
NB_API nb_var nb_chain(nb_var a, nb_var b);

/* ---- exponentials and logarithms ------------------------------------------------------------- */

NB_API nb_var nb_exp(nb_var x);
NB_API nb_var nb_exp2(nb_var x);
NB_API nb_var nb_expm1(nb_var x); /* e^x - 1 */
NB_API nb_var nb_log(nb_var x);
NB_API nb_var nb_log2(nb_var x);
NB_API nb_var nb_log10(nb_var x);
NB_API nb_var nb_log1p(nb_var x);               /* log(1 + x) */
NB_API nb_var nb_xlogx(nb_var x);               /* 0 at 0 */
NB_API nb_var nb_xlogy(nb_var x, nb_var y);     /* 0 where x is 0, unless y is NaN */
NB_API nb_var nb_logaddexp(nb_var x, nb_var y); /* log(e^x + e^y) */

/* ---- trigonometry and hyperbolics ------------------------------------------------------------ */

NB_API nb_var nb_sin(nb_var x);
NB_API nb_var nb_cos(nb_var x);
NB_API nb_var nb_tan(nb_var x);
NB_API nb_var nb_asin(nb_var x);
NB_API nb_var nb_acos(nb_var x);
NB_API nb_var nb_atan(nb_var x);
NB_API nb_var nb_atan2(nb_var y, nb_var x); /* the angle of (x, y); slopes 0 at the origin */
NB_API nb_var nb_sinh(nb_var x);
NB_API nb_var nb_cosh(nb_var x);
NB_API nb_var nb_tanh(nb_var x);
NB_API nb_var nb_asinh(nb_var x);
NB_API nb_var nb_acosh(nb_var x);
NB_API nb_var nb_atanh(nb_var x);

/* ---- rounding, comparing, selecting ---------------------------------------------------------- */

NB_API nb_var nb_abs(nb_var x);  /* slope 0 at 0 */
NB_API nb_var nb_sign(nb_var x); /* -1, 0 or 1 */
NB_API nb_var nb_floor(nb_var x);
NB_API nb_var nb_ceil(nb_var x);
NB_API nb_var nb_round(nb_var x); /* halves away from zero */
NB_API nb_var nb_trunc(nb_var x);
NB_API nb_var nb_min(nb_var x, nb_var y); /* a tie splits the gradient equally */
NB_API nb_var nb_max(nb_var x, nb_var y);
NB_API nb_var nb_clamp(nb_var x, nb_var low, nb_var high); /* slope 1 at the ends */
/* Comparisons give 1 or 0, constants. */
NB_API nb_var nb_lt(nb_var x, nb_var y);
NB_API nb_var nb_le(nb_var x, nb_var y);
NB_API nb_var nb_gt(nb_var x, nb_var y);
NB_API nb_var nb_ge(nb_var x, nb_var y);
NB_API nb_var nb_eq(nb_var x, nb_var y);
NB_API nb_var nb_ne(nb_var x, nb_var y);
NB_API nb_var nb_where(nb_var condition, nb_var x, nb_var y); /* x where it is not 0, else y */

/* ---- special functions ----------------------------------------------------------------------- */

NB_API nb_var nb_erf(nb_var x);
NB_API nb_var nb_erfc(nb_var x);
NB_API nb_var nb_gauss(nb_var x);      /* e^(-x^2) */
NB_API nb_var nb_normal_pdf(nb_var x); /* the standard normal density */
NB_API nb_var nb_normal_cdf(nb_var x); /* and its integral, Phi */
NB_API nb_var nb_lgamma(nb_var x);
NB_API nb_var nb_digamma(nb_var x);
NB_API nb_var nb_polygamma(nb_var x, nb_var n); /* the n-th derivative of digamma */

/* ---- activations ----------------------------------------------------------------------------- */

NB_API nb_var nb_sigmoid(nb_var x); /* 1 / (1 + e^-x) */
NB_API nb_var nb_log_sigmoid(nb_var x);
NB_API nb_var nb_softplus(nb_var x);                 /* log(1 + e^x) */
NB_API nb_var nb_relu(nb_var x);                     /* max(x, 0) */
NB_API nb_var nb_leaky_relu(nb_var x, nb_var slope); /* x, or slope x below 0; usually 0.1 */
NB_API nb_var nb_relu6(nb_var x);                    /* min(max(x, 0), 6) */
NB_API nb_var nb_elu(nb_var x, nb_var alpha);        /* alpha (e^x - 1) below 0 */
NB_API nb_var nb_selu(nb_var x);
NB_API nb_var nb_celu(nb_var x, nb_var alpha); /* alpha (e^(x/alpha) - 1) below 0 */
NB_API nb_var nb_gelu(nb_var x);               /* x Phi(x), exact */
NB_API nb_var nb_gelu_tanh(nb_var x);          /* its approximation by tanh */
NB_API nb_var nb_silu(nb_var x);               /* x sigmoid(x) */
NB_API nb_var nb_mish(nb_var x);               /* x tanh(softplus(x)) */
NB_API nb_var nb_softsign(nb_var x);           /* x / (1 + |x|) */
NB_API nb_var nb_hard_tanh(nb_var x);          /* x clamped to [-1, 1], slope 0 at the ends */
NB_API nb_var nb_hard_sigmoid(nb_var x);       /* relu6(x + 3) / 6 */
NB_API nb_var nb_hard_swish(nb_var x);         /* x hard_sigmoid(x) */
NB_API nb_var nb_step(nb_var x);               /* 1 above 0, else 0 */

/* ---- many scalars to one: one node each ------------------------------------------------------ */

NB_API nb_var nb_sum_of(size_t n, const nb_var *x);
NB_API nb_var nb_mean_of(size_t n, const nb_var *x);
NB_API nb_var nb_dot_of(size_t n, const nb_var *x, const nb_var *y);     /* sum of x[i] y[i] */
NB_API nb_var nb_combine_of(size_t n, const double *c, const nb_var *x); /* sum of c[i] x[i] */
NB_API nb_var nb_logsumexp_of(size_t n, const nb_var *x);
NB_API nb_var nb_norm_of(size_t n, const nb_var *x);
NB_API nb_var nb_max_of(size_t n, const nb_var *x); /* ties split the gradient equally */
NB_API nb_var nb_min_of(size_t n, const nb_var *x);
/* max over j of b[j] + sum over i of w[j n + i] x[i]: k affine pieces of n inputs. */
NB_API nb_var nb_maxout_of(size_t k, size_t n, const nb_var *w, const nb_var *b, const nb_var *x);

/* ---- reductions ------------------------------------------------------------------------------ */

/* Over all elements: the result is a scalar node. */
NB_API nb_var nb_sum(nb_var x);
NB_API nb_var nb_mean(nb_var x);
NB_API nb_var nb_prod(nb_var x);
NB_API nb_var nb_amax(nb_var x); /* the greatest element; ties split the gradient equally */
NB_API nb_var nb_amin(nb_var x);
NB_API nb_var nb_var_of(nb_var x, int correction); /* variance: divided by count - correction */
NB_API nb_var nb_std(nb_var x, int correction);
NB_API nb_var nb_norm(nb_var x); /* Euclidean, scaled: no overflow; slope 0 at zero */
NB_API nb_var nb_logsumexp(nb_var x);

/* Over the named axes, which vanish, or stay with size 1 if keep. Over all of them without keep the
 * result is a scalar node. */
NB_API nb_var nb_sum_over(nb_var x, nb_axes axes, bool keep);
NB_API nb_var nb_mean_over(nb_var x, nb_axes axes, bool keep);
NB_API nb_var nb_prod_over(nb_var x, nb_axes axes, bool keep);
NB_API nb_var nb_amax_over(nb_var x, nb_axes axes, bool keep);
NB_API nb_var nb_amin_over(nb_var x, nb_axes axes, bool keep);
NB_API nb_var nb_var_over(nb_var x, nb_axes axes, int correction, bool keep);
NB_API nb_var nb_std_over(nb_var x, nb_axes axes, int correction, bool keep);
NB_API nb_var nb_norm_over(nb_var x, nb_axes axes, bool keep);
NB_API nb_var nb_logsumexp_over(nb_var x, nb_axes axes, bool keep);

/* Index of the greatest (least) element along an axis, the first of equals; NaN counts as greatest
 * (least). out has one entry per remaining element, in row-major order. */
NB_API nb_code nb_argmax(nb_var x, int axis, int64_t *out);
NB_API nb_code nb_argmin(nb_var x, int axis, int64_t *out);

/* ---- products -------------------------------------------------------------------------------- */

/* Vectors, matrices, and batches of matrices with broadcast leading axes, as NumPy's matmul. */
NB_API nb_var nb_matmul(nb_var a, nb_var b);
/* The same with the last two axes of an operand exchanged where the flag says so. */
NB_API nb_var nb_matmul_t(nb_var a, bool a_transposed, nb_var b, bool b_transposed);
/* x w + b: x [n k] or [k], w [k m], b [m]; one node. */
NB_API nb_var nb_affine(nb_var x, nb_var w, nb_var b);
/* f(x w + b): one node, and one pass over memory, if f is one of the elementwise functions above,
 * nb_relu say; else f is called on the affine map. NULL: the map itself. */
NB_API nb_var nb_dense(nb_var x, nb_var w, nb_var b, nb_var (*f)(nb_var));
NB_API nb_var nb_dot(nb_var a, nb_var b);   /* two vectors of one length: a scalar */
NB_API nb_var nb_outer(nb_var a, nb_var b); /* [n] and [m] to [n m] */

/* ---- shape ----------------------------------------------------------------------------------- */

/* One dimension may be -1: it is inferred. Shares storage. */
NB_API nb_var nb_reshape(nb_var x, nb_shape shape);
NB_API nb_var nb_flatten(nb_var x);                /* to one axis */
NB_API nb_var nb_permute(nb_var x, nb_axes order); /* axis i of the result is axis order[i] of x */
NB_API nb_var nb_transpose(nb_var x);              /* the last two axes exchanged */
NB_API nb_var nb_expand(nb_var x, nb_shape shape); /* broadcast to the shape */
NB_API nb_var nb_squeeze(nb_var x, nb_axes axes);  /* drops axes of size 1; NB_ALL: all such */
NB_API nb_var nb_unsqueeze(nb_var x, int axis);    /* a new axis of size 1 at that place */
/* Elements start, start + step, … before stop along an axis. As in Python: negative positions count
 * from the end, positions beyond an end are moved to it, a negative step walks back. */
NB_API nb_var nb_slice(nb_var x, int axis, int64_t start, int64_t stop, int64_t step);
#define NB_END   INT64_MAX       /* as stop or start: beyond the last */
#define NB_BEGIN (INT64_MIN + 1) /* as stop of a negative step: before the first */
NB_API nb_var nb_concat(size_t n, const nb_var *x, int axis);
NB_API nb_var nb_stack(size_t n, const nb_var *x, int axis); /* along a new axis; scalars too */
/* n equal parts along an axis into out[0..n). */
NB_API nb_code nb_split(nb_var x, size_t n, int axis, nb_var *out);
/* Elements before and after along an axis, filled with value. */
NB_API nb_var nb_pad(nb_var x, int axis, int64_t before, int64_t after, double value);
NB_API nb_var nb_flip(nb_var x, nb_axes axes);
NB_API nb_var nb_tile(nb_var x, nb_shape repeats); /* one count per axis, aligned at the last */
/* Zeroes what lies above (lower) or below (upper) the diagonal k of the last two axes. */
NB_API nb_var nb_lower(nb_var x, int64_t k);
NB_API nb_var nb_upper(nb_var x, int64_t k);
NB_API nb_var nb_diag(nb_var x, int64_t k);     /* a vector to a matrix with it on diagonal k */
NB_API nb_var nb_diagonal(nb_var x, int64_t k); /* diagonal k of the last two axes */
NB_API nb_var nb_trace(nb_var x);               /* of a matrix: a scalar; of a batch: [batch] */

/* ---- indexing -------------------------------------------------------------------------------- */

/* One element as a scalar node, an index for each axis: nb_at(x, 2, -1). */
NB_API nb_var nb_at_index(nb_var x, size_t n, const int64_t *index);
#ifdef __cplusplus
static inline nb_var nbi_at_list(nb_var x, std::initializer_list<int64_t> index)
{
    return nb_at_index(x, index.size(), index.begin());
}
#define nb_at(x, ...) nbi_at_list(x, {__VA_ARGS__})
#else
#define nb_at(x, ...) \
    nb_at_index(x, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})
#endif
/* Indices are checked, copied, and constant; negative ones count from the end. */
NB_API nb_var nb_index_select(nb_var x, int axis, size_t n, const int64_t *index);
/* rows of table [v d] for an index array of any shape: [shape… d] */
NB_API nb_var nb_embedding(nb_var table, nb_shape shape, const int64_t *index);
/* out[…i…] = x[… index[…i…] …] along axis; index has the given shape, which agrees with x's on the
 * other axes. */
NB_API nb_var nb_gather(nb_var x, int axis, nb_shape shape, const int64_t *index);
/* x with source (of the index's shape) added at those places: gather's transpose. */
NB_API nb_var nb_scatter_add(nb_var x, int axis, nb_shape shape, const int64_t *index,
                             nb_var source);
/* value where mask is not 0, else x; the three broadcast, as in nb_where. */
NB_API nb_var nb_masked_fill(nb_var x, nb_var mask, nb_var value);

/* ---- along an axis --------------------------------------------------------------------------- */

NB_API nb_var nb_cumsum(nb_var x, int axis);
NB_API nb_var nb_cumprod(nb_var x, int axis);
/* Stable. If order is not NULL it receives, per element of the result, its place in x's axis. NaN
 * sorts last. */
NB_API nb_var nb_sort(nb_var x, int axis, bool descending, int64_t *order);
/* The k greatest (least), best first; a NaN counts as best, so that it is not lost. */
NB_API nb_var nb_topk(nb_var x, int64_t k, int axis, bool largest, int64_t *order);
NB_API nb_var nb_softmax(nb_var x, int axis);
NB_API nb_var nb_log_softmax(nb_var x, int axis);
/* mask broadcasts to x; elements where it is 0 get probability 0, a row without any is all 0. */
NB_API nb_var nb_masked_softmax(nb_var x, nb_var mask, int axis);

#ifdef __cplusplus
}
#endif

#include <nabla/mix.h>
#endif
