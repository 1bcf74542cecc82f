/*
 * Sparse matrices of derivatives: against the dense ones, for every op, for random graphs and in
 * every mode; patterns that are known exactly; few sweeps where few are enough, whatever the size;
 * a plan used again; what happens without memory, and what is refused.
 */
#include "matrix.h"
#include "ops/elementwise.h"
#include "ops/registry.h"
#include "tape/sample.h"

#include <nabla/sparse.h>

enum { MOST = 40 };

static size_t elements(size_t n, const nb_var *x)
{
    size_t total = 0;
    for (size_t k = 0; k < n; k++)
        total += (size_t)nb_size(x[k]);
    return total;
}

/* Whether the rows are those of a matrix: starts that ascend, columns that do. */
static void well_formed(nb_csr m)
{
    bool good = m.row_start[0] == 0;
    for (size_t r = 0; r < m.rows; r++) {
        good = good && m.row_start[r] <= m.row_start[r + 1];
        for (size_t k = m.row_start[r]; good && k < m.row_start[r + 1]; k++)
            good =
                m.column[k] < m.columns && (k == m.row_start[r] || m.column[k - 1] < m.column[k]);
    }
    ck_assert(good);
}

/* The worst difference from a dense matrix, relative to its largest number; *extra counts the
 * places where that one has a zero. */
static double apart(nb_csr m, const double *dense, size_t *extra)
{
    double most = 0, off = 0;
    *extra = 0;
    well_formed(m);
    for (size_t r = 0; r < m.rows; r++) {
        size_t k = m.row_start[r];
        for (size_t c = 0; c < m.columns; c++) {
            const double want = dense[r * m.columns + c];
            const bool here = k < m.row_start[r + 1] && m.column[k] == c;
            const double got = here ? m.value[k++] : 0;
            *extra += here && want == 0;
            most = fmax(most, fabs(want));
            if (got != want && !(isnan(got) && isnan(want)))
                off = fmax(off, isnan(got) || isnan(want) ? (double)INFINITY : fabs(got - want));
        }
    }
    return off > 0 ? off / most : 0;
}

/* The Jacobian by a plan of the mode against the dense one; the places too many. */
static size_t same_as_dense(const char *name, size_t n_out, const nb_var *out, size_t n_in,
                            const nb_var *in, nb_jacobian_mode mode, double tol)
{
    size_t extra;
    double *J = doubles(elements(n_out, out) * elements(n_in, in) + 1);
    ck_assert_int_eq(nb_jacobian(n_out, out, n_in, in, NB_JACOBIAN_REVERSE, J), NB_OK);
    nb_sparse *s = nb_sparse_jacobian(n_out, out, n_in, in, mode);
    ck_assert_msg(s != NULL, "%s: %s", name, nb_message(in[0].tape));
    ck_assert_int_eq(nb_sparse_values(s, n_out, out, n_in, in), NB_OK);
    const nb_csr m = nb_sparse_matrix(s);
    ck_assert_uint_eq(m.rows, elements(n_out, out));
    ck_assert_uint_eq(m.columns, elements(n_in, in));
    const double off = apart(m, J, &extra);
    ck_assert_msg(off <= tol, "%s: %g apart in mode %d", name, off, (int)mode);
    nb_sparse_free(s);
    free(J);
    return extra;
}

/* ---- every op -------------------------------------------------------------------------------- */

/* Ops whose examples have zeros among their derivatives only where nothing is read. */
static bool exact(const char *name)
{
    static const char *const names[] = {
        "add",     "mul",          "sin",       "permute",   "transpose",   "flip",
        "expand",  "tile",         "lower",     "upper",     "diag",        "slice",
        "unslice", "split",        "concat",    "stack",     "gather",      "reshape",
        "squeeze", "index_select", "embedding", "sum",       "mean",        "pad",
        "matmul",  "affine",       "outer",     "diagonal",  "scatter_add", "unselect",
        "place",   "at",           "flatten",   "unsqueeze", "trace",       "logsumexp"};
    for (size_t k = 0; k < COUNT(names); k++)
        if (!strcmp(name, names[k]))
            return true;
    return false;
}

START_TEST(every_op)
{
    const nb_op *op = nbi_op_at((size_t)_i);
    for (int d = 0; d < 2; d++) {
        nb_tape *t = nb_tape_new(&(nb_options){.dtype = d ? NB_F32 : NB_F64});
        for (int k = 0;; k++) {
            nb_sampler s = {.tape = t, .rng = nb_rng_seed((uint64_t)k)};
            nb_reset(t);
            nb_var y = op->sample(&s, k);
            if (nbi_is_inert(y))
                break;
            for (int mode = 0; mode < 3; mode++) {
                size_t extra = same_as_dense(op->name, 1, &y, s.n, s.in, (nb_jacobian_mode)mode,
                                             d ? 1e-6 : 1e-14);
                ck_assert_msg(!exact(op->name) || !extra, "%s: %zu places too many", op->name,
                              extra);
            }
        }
        ck_assert_str_eq(nb_message(t), "");
        nb_tape_free(t);
    }
}
END_TEST

/* ---- graphs ---------------------------------------------------------------------------------- */

/* Each node sees a few near ones; outputs and inputs anywhere among them, some twice. */
static void local_graph(nb_tape *t, nb_rng *r, nb_var *in, nb_var *out)
{
    nb_var pool[200];
    for (size_t k = 0; k < MOST; k++)
        pool[k] = in[k] = nb_input(t, NULL, nb_rng_normal(r));
    for (size_t k = MOST; k < 200; k++) {
        nb_var a = pool[k - 1 - nb_rng_below(r, MOST)], b = pool[k - MOST];
        switch (nb_rng_below(r, 5)) {
        case 0: pool[k] = nb_sin(nb_mul(a, b)); break;
        case 1: pool[k] = nb_tanh(b); break;
        case 2: pool[k] = nb_fma(a, a, 0.5); break;
        case 3: pool[k] = nb_norm_of(2, (nb_var[]){a, b}); break;
        default: pool[k] = nb_cos(nb_sub(a, b)); break;
        }
    }
    for (size_t k = 0; k < MOST; k++)
        out[k] = pool[nb_rng_below(r, 200)];
    in[3] = in[5];
    in[7] = pool[100];
    in[8] = pool[101];
    in[9] = nb_constant(t, 2);
    out[4] = out[6];
    out[5] = in[9];
}

START_TEST(random_scalars)
{
    nb_rng r = nb_rng_seed((uint64_t)_i);
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[MOST], out[MOST];
    local_graph(t, &r, in, out);
    for (int mode = 0; mode < 3; mode++)
        same_as_dense("scalars", MOST, out, MOST, in, (nb_jacobian_mode)mode, 1e-13);
    nb_tape_free(t);
}
END_TEST

/* Tensors that move, mix by rows and meet scalars; an interior tensor is an input too. */
START_TEST(tensors)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i ? NB_F32 : NB_F64});
    nb_rng r = nb_rng_seed(3);
    nb_var x = nb_leaf("x", nb_normal(t, NB_SHAPE(5, 4), 0, 1, &r)), s = nb_input(t, "s", 0.7);
    nb_var w = nb_leaf("w", nb_normal(t, NB_SHAPE(4, 3), 0, 1, &r)), h = nb_tanh(nb_matmul(x, w));
    nb_var z = nb_concat(2, (nb_var[]){h, nb_slice(x, 1, 1, NB_END, 1)}, 1);
    nb_var in[] = {x, s, w, h, nb_zeros(t, NB_SHAPE(2))};
    nb_var out[] = {nb_softmax(z, 1), nb_mul(s, nb_permute(z, NB_AXES(1, 0))),
                    nb_pad(nb_sum_over(nb_square(x), NB_AXES(0), false), 0, 1, 2, 1),
                    nb_at(h, 1, 2), nb_ones(t, NB_SHAPE(3))};
    ck_assert_str_eq(nb_message(t), "");
    for (int mode = 0; mode < 3; mode++)
        same_as_dense("tensors", COUNT(out), out, COUNT(in), in, (nb_jacobian_mode)mode,
                      _i ? 1e-6 : 1e-14);
    nb_tape_free(t);
}
END_TEST

/* ---- few sweeps ------------------------------------------------------------------------------ */

/* A camera of 11 numbers, a point of 3 and a weight make a residual of two numbers. */
static size_t bundle(nb_tape *t, size_t cameras, size_t points, nb_var *in, nb_var *out)
{
    const size_t each = 5, n = 11 * cameras + 3 * points;
    size_t m = 0, k = n;
    for (size_t i = 0; i < n + each * points; i++)
        in[i] = nb_input(t, NULL, 0.3 + 0.1 * sin((double)i));
    for (size_t p = 0; p < points; p++)
        for (size_t e = 0; e < each; e++, m++) {
            const nb_var *c = in + 11 * ((p * 7 + e) % cameras), *x = in + 11 * cameras + 3 * p;
            nb_var u = nb_add(nb_mul(c[0], x[0]), nb_mul(c[1], nb_sin(nb_mul(x[1], c[2]))));
            nb_var v = nb_add(nb_mul(c[3], x[2]), nb_mul(c[4], nb_cos(nb_add(x[1], c[5]))));
            nb_var q = nb_mul(nb_add(nb_mul(u, c[6]), c[7]), nb_exp(nb_mul(v, c[8])));
            out[m] = nb_mul(in[k++], nb_add(nb_mul(q, c[9]), nb_mul(u, c[10])));
        }
    return m;
}

START_TEST(sweeps_of_a_bundle)
{
    size_t sweeps[2], n[2];
    for (int turn = 0; turn < 2; turn++) {
        const size_t cameras = turn ? 40 : 8, points = turn ? 2000 : 60;
        n[turn] = 11 * cameras + 8 * points;
        nb_tape *t = nb_tape_new(NULL);
        nb_var *in = calloc(n[turn], sizeof *in), *out = calloc(5 * points, sizeof *out);
        const size_t m = bundle(t, cameras, points, in, out);
        nb_sparse *s = nb_sparse_jacobian(m, out, n[turn], in, NB_JACOBIAN_AUTO);
        ck_assert_ptr_nonnull(s);
        sweeps[turn] = nb_sparse_sweeps(s);
        const nb_csr J = nb_sparse_matrix(s);
        ck_assert_uint_eq(J.row_start[J.rows], 15 * m);
        if (!turn)
            ck_assert_uint_eq(same_as_dense("bundle", m, out, n[0], in, NB_JACOBIAN_AUTO, 1e-14),
                              0);
        nb_sparse_free(s);
        nb_tape_free(t);
        free(in);
        free(out);
    }
    ck_assert_uint_le(sweeps[0], 16);
    ck_assert_uint_eq(sweeps[0], sweeps[1]);
}
END_TEST

static nb_var rosenbrock(size_t n, const nb_var *x)
{
    nb_var f = nb_num(0);
    for (size_t i = 0; i + 1 < n; i++)
        f = nb_add(f, nb_add(nb_mul(100, nb_square(nb_sub(x[i + 1], nb_square(x[i])))),
                             nb_square(nb_sub(1, x[i]))));
    return f;
}

static bool tridiagonal(nb_csr H, const double *x, double *off)
{
    const size_t n = H.rows;
    bool good = H.row_start[n] == 3 * n - 2;
    *off = 0;
    for (size_t i = 0; i < n && good; i++)
        for (size_t k = H.row_start[i]; k < H.row_start[i + 1]; k++) {
            const size_t j = H.column[k], low = i < j ? i : j;
            const double inner = i + 1 < n ? 1200 * x[i] * x[i] - 400 * x[i + 1] + 2 : 0;
            const double want = i == j ? inner + (i ? 200 : 0) : -400 * x[low];
            good = good && (i > j ? i - j : j - i) <= 1;
            const double size = 1 + 1200 * x[i] * x[i] + 400 * (i + 1 < n ? fabs(x[i + 1]) : 1);
            *off = fmax(*off, fabs(H.value[k] - want) / size);
        }
    return good;
}

static const size_t sizes[] = {2, 3, 4, 10, 100, 1000};

START_TEST(rosenbrock_hessians)
{
    const size_t n = sizes[_i];
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(n);
    double *x = doubles(n), off;
    nb_var in[1000];
    for (size_t i = 0; i < n; i++)
        in[i] = nb_input(t, NULL, x[i] = nb_rng_normal(&r));
    nb_var f = rosenbrock(n, in);
    const size_t count = nb_count(t);
    nb_sparse *s = nb_sparse_hessian(f, n, in);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(nb_sparse_values(s, 1, &f, n, in), NB_OK);
    ck_assert_uint_eq(nb_count(t), count);
    ck_assert(tridiagonal(nb_sparse_matrix(s), x, &off));
    ck_assert_double_le(off, 1e-14);
    ck_assert_uint_le(nb_sparse_sweeps(s), 3);
    nb_reset(t); /* a new point */
    for (size_t i = 0; i < n; i++)
        in[i] = nb_input(t, NULL, x[i] = nb_rng_normal(&r));
    f = rosenbrock(n, in);
    ck_assert_int_eq(nb_sparse_values(s, 1, &f, n, in), NB_OK);
    ck_assert(tridiagonal(nb_sparse_matrix(s), x, &off));
    ck_assert_double_le(off, 1e-14);
    nb_tape_free(t); /* the plan outlives it */
    ck_assert(tridiagonal(nb_sparse_matrix(s), x, &off));
    nb_sparse_free(s);
    free(x);
}
END_TEST

/* Hessians of sums of terms of a few variables each, against the dense ones. */
START_TEST(random_hessians)
{
    enum { N = 60 };
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed((uint64_t)_i);
    double *H = doubles(N * N);
    size_t extra;
    nb_var in[N], f = nb_num(0);
    for (size_t i = 0; i < N; i++)
        in[i] = nb_input(t, NULL, nb_rng_normal(&r));
    for (int k = 0; k < 50 + 10 * _i; k++) {
        nb_var a = in[nb_rng_below(&r, N)], b = in[nb_rng_below(&r, N / 2)];
        nb_var c = in[nb_rng_below(&r, (uint64_t)(_i + 2))];
        f = nb_add(f, nb_rng_below(&r, 2) ? nb_sin(nb_mul(a, b)) : nb_mul(a, nb_exp(c)));
    }
    ck_assert_int_eq(nb_hessian(f, N, in, H), NB_OK);
    nb_sparse *s = nb_sparse_hessian(f, N, in);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(nb_sparse_values(s, 1, &f, N, in), NB_OK);
    ck_assert_double_le(apart(nb_sparse_matrix(s), H, &extra), 1e-13);
    ck_assert_uint_lt(nb_sparse_sweeps(s), N);
    nb_sparse_free(s);
    nb_tape_free(t);
    free(H);
}
END_TEST

/* One variable meets all the others: two colours. */
START_TEST(arrow)
{
    enum { N = 2000 };
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[N], f = nb_num(0);
    for (size_t i = 0; i < N; i++)
        in[i] = nb_input(t, NULL, 0.001 * (double)i);
    for (size_t i = 1; i < N; i++)
        f = nb_add(f, nb_mul(nb_sin(in[0]), nb_square(in[i])));
    nb_sparse *s = nb_sparse_hessian(f, N, in);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(nb_sparse_values(s, 1, &f, N, in), NB_OK);
    ck_assert_uint_eq(nb_sparse_sweeps(s), 2);
    const nb_csr H = nb_sparse_matrix(s);
    ck_assert_uint_eq(H.row_start[N], 3 * N - 2);
    for (size_t i = 1; i < N; i++) {
        ck_assert_double_eq(H.value[i], 2 * 0.001 * (double)i); /* cos 0 */
        ck_assert_double_eq(H.value[H.row_start[i]], H.value[i]);
        ck_assert_double_eq(H.value[H.row_start[i] + 1], 0);
    }
    nb_sparse_free(s);
    nb_tape_free(t);
}
END_TEST

/* A full row and a full column, one at a time: the other way takes two sweeps. A long sum costs no
 * square of memory. */
START_TEST(full_rows_and_columns)
{
    enum { N = 20000 };
    nb_tape *t = nb_tape_new(NULL);
    nb_var *in = calloc(N, sizeof *in), *out = calloc(N, sizeof *out);
    nb_var sum = nb_num(0);
    for (size_t i = 0; i < N; i++) {
        in[i] = nb_input(t, NULL, 1);
        out[i] = nb_square(in[i]);
        sum = nb_add(sum, nb_sin(in[i]));
    }
    out[0] = sum;
    nb_sparse *s = nb_sparse_jacobian(N, out, N, in, NB_JACOBIAN_AUTO);
    ck_assert_ptr_nonnull(s);
    ck_assert_uint_eq(nb_sparse_sweeps(s), 2);
    ck_assert_uint_eq(nb_sparse_matrix(s).row_start[1], N);
    nb_sparse_free(s);
    for (size_t i = 0; i < N; i++)
        out[i] = nb_mul(in[0], in[i]);
    s = nb_sparse_jacobian(N, out, N, in, NB_JACOBIAN_AUTO);
    ck_assert_ptr_nonnull(s);
    ck_assert_uint_eq(nb_sparse_sweeps(s), 2);
    ck_assert_int_eq(nb_sparse_values(s, N, out, N, in), NB_OK);
    ck_assert_double_eq(nb_sparse_matrix(s).value[0], 2);
    nb_sparse_free(s);
    ck_assert_uint_lt(nb_tape_bytes(t), (size_t)100 << 20);
    nb_tape_free(t);
    free(in);
    free(out);
}
END_TEST

/* ---- without memory, and what is refused -------------------------------------------------- */

START_TEST(without_memory)
{
    bool through = false;
    for (size_t k = 1; k < 400 && !through; k++) {
        counting c = {0};
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 16, .bytes = 64});
        nb_var in[3], f = nb_num(0);
        for (int i = 0; i < 3; i++)
            in[i] = nb_input(t, NULL, i);
        in[2] = nb_tensor(t, "x", NB_SHAPE(2), (double[]){1, 2});
        f = nb_add(nb_mul(nb_sin(in[0]), in[1]), nb_sum(nb_flip(nb_exp(in[2]), NB_AXES(0))));
        const size_t count = nb_count(t);
        c.refuse = c.calls + k;
        nb_sparse *s = nb_sparse_hessian(f, 3, in);
        nb_sparse *j = s ? nb_sparse_jacobian(1, &f, 3, in, NB_JACOBIAN_FORWARD) : NULL;
        nb_code code = j ? nb_sparse_values(s, 1, &f, 3, in) : nb_status(t);
        code = j && code == NB_OK ? nb_sparse_values(j, 1, &f, 3, in) : code;
        through = !c.refusals;
        ck_assert(code == NB_ERR_MEMORY || (j && code == NB_OK));
        ck_assert_int_eq(nb_status(t), code);
        ck_assert_uint_eq(nb_count(t), count);
        nb_sparse_free(s);
        nb_sparse_free(j);
        c.refuse = 0;
        nb_clear(t);
        s = nb_sparse_hessian(f, 3, in);
        ck_assert_int_eq(nb_sparse_values(s, 1, &f, 3, in), NB_OK);
        nb_sparse_free(s);
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(through);
}
END_TEST

static void refused(nb_tape *t, nb_code want)
{
    ck_assert_int_eq(nb_status(t), want);
    ck_assert_str_ne(nb_message(t), "");
    nb_clear(t);
}

static nb_code twice(const nb_call *c)
{
    for (int64_t i = 0; i < c->out->size; i++)
        ((double *)c->out->data)[i] = 2 * ((double *)c->in[0].data)[i];
    return NB_OK;
}

START_TEST(refusals)
{
    static const nb_op norule = {.name = "norule", .forward = twice};
    const nb_jacobian_mode any = NB_JACOBIAN_AUTO;
    const double one = 1;
    nb_tape *t = nb_tape_new(NULL), *other = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), y = nb_exp(x), foreign = nb_input(other, "z", 1);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(2), (double[]){1, 2}),
           bad = nb_apply(&norule, 1, &v, NULL, 0);
    nb_mark m = nb_tape_mark(t);
    nb_var stale = nb_exp(y);
    nb_rewind(m);
    const nb_var wrong[] = {nb_num(2), stale, foreign};
    for (size_t k = 0; k < COUNT(wrong); k++) {
        ck_assert_ptr_null(nb_sparse_jacobian(1, &y, 1, &wrong[k], any));
        refused(t, NB_ERR_HANDLE);
        ck_assert_ptr_null(nb_sparse_hessian(y, 1, &wrong[k]));
        refused(t, NB_ERR_HANDLE);
    }
    ck_assert_ptr_null(nb_sparse_hessian(nb_exp(v), 1, &v));
    refused(t, NB_ERR_SHAPE);
    ck_assert_ptr_null(nb_sparse_jacobian(1, &bad, 1, &v, any));
    ck_assert_ptr_nonnull(strstr(nb_message(t), "norule"));
    refused(t, NB_ERR_GRADIENT);
    nb_var huge = nb_borrow(t, "huge", NB_SHAPE((int64_t)1 << 33), &one, NULL);
    ck_assert_ptr_null(nb_sparse_jacobian(1, &y, 1, &huge, any));
    refused(t, NB_ERR_OVERFLOW);
    ck_assert_ptr_null(nb_sparse_jacobian(0, &y, 1, &x, any));
    ck_assert_ptr_null(nb_sparse_jacobian(1, NULL, 1, &x, any));
    ck_assert_ptr_null(nb_sparse_jacobian(1, &y, 0, &x, any));
    ck_assert_ptr_null(nb_sparse_jacobian(1, &y, 1, NULL, any));
    ck_assert_ptr_null(nb_sparse_jacobian(1, &y, 1, &x, (nb_jacobian_mode)9));
    ck_assert_ptr_null(nb_sparse_hessian(y, 0, &x));
    ck_assert_ptr_null(nb_sparse_hessian(y, 1, NULL));
    nb_sparse *s = nb_sparse_jacobian(1, &y, 1, &x, any);
    ck_assert_int_eq(nb_sparse_values(s, 1, &y, 1, &v), NB_ERR_SHAPE);
    refused(t, NB_ERR_SHAPE);
    ck_assert_int_eq(nb_sparse_values(s, 1, &y, 2, (nb_var[]){x, x}), NB_ERR_SHAPE);
    refused(t, NB_ERR_SHAPE);
    ck_assert_int_eq(nb_sparse_values(s, 1, &v, 1, &x), NB_ERR_SHAPE);
    refused(t, NB_ERR_SHAPE);
    ck_assert_int_eq(nb_sparse_values(s, 1, &y, 1, &stale), NB_ERR_HANDLE);
    refused(t, NB_ERR_HANDLE);
    ck_assert_int_eq(nb_sparse_values(NULL, 1, &y, 1, &x), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_sparse_values(s, 1, &y, 1, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_sparse_values(s, 1, &y, 1, &x), NB_OK);
    ck_assert_double_eq(nb_sparse_matrix(s).value[0], nb_value(y));
    nb_sparse_free(s);
    nb_sparse_free(NULL);
    ck_assert_uint_eq(nb_sparse_sweeps(NULL), 0);
    ck_assert_uint_eq(nb_sparse_matrix(NULL).rows, 0);
    nb_tape_free(t);
    nb_tape_free(other);
}
END_TEST

/* Nothing at all, in either direction. */
START_TEST(empty)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), none = nb_zeros(t, NB_SHAPE(0, 3)), c = nb_ones(t, NB_SHAPE(2));
    const nb_var out[] = {c, none}, in[] = {none, x};
    for (int mode = 0; mode < 3; mode++)
        same_as_dense("empty", 2, out, 2, in, (nb_jacobian_mode)mode, 0);
    nb_sparse *s = nb_sparse_hessian(nb_mul(x, 2), 1, &x);
    ck_assert_ptr_nonnull(s);
    ck_assert_uint_eq(nb_sparse_sweeps(s), 0);
    nb_sparse_free(s);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("sparsity");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, every_op, 0, (int)nbi_op_count());
    tcase_add_loop_test(c, random_scalars, 0, 10);
    tcase_add_loop_test(c, tensors, 0, 2);
    tcase_add_test(c, sweeps_of_a_bundle);
    tcase_add_loop_test(c, rosenbrock_hessians, 0, COUNT(sizes));
    tcase_add_loop_test(c, random_hessians, 0, 10);
    tcase_add_test(c, arrow);
    tcase_add_test(c, full_rows_and_columns);
    tcase_add_test(c, without_memory);
    tcase_add_test(c, refusals);
    tcase_add_test(c, empty);
    return run_case("sparsity", c);
}
