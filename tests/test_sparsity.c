/*
 * Patterns: sparse matrices of derivatives against the dense ones, for every op, for random graphs and
 * in every mode, and no place too many where the pattern is known exactly; what happens without memory,
 * and what is refused.
 */
#include "csr.h"
#include "ops/elementwise.h"
#include "ops/registry.h"
#include "tape/sample.h"

enum { MOST = 40 };

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

/* ---- what is more than an op ---------------------------------------------------------------- */

static nb_code wave(void *context, const nb_var *in, nb_var *out)
{
    (void)context;
    out[0] = nb_sin(nb_mul(in[0], in[1]));
    out[1] = nb_sum(out[0]);
    return NB_OK;
}

static nb_code relax(void *context, int64_t step, const nb_var *in, nb_var *out)
{
    (void)context, (void)step;
    out[0] = nb_mul(in[0], nb_cos(in[1]));
    return NB_OK;
}

static nb_var turn(void *context, nb_var g)
{
    (void)context;
    return nb_flip(g, NB_AXES(0));
}

/* The interior of a segment or loop is not on the tape; the gradient of a hook need not be that of
 * the operand whose value it has. */
START_TEST(segments_and_hooks)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i ? NB_F32 : NB_F64});
    nb_rng r = nb_rng_seed(5);
    nb_var in[] = {nb_leaf("x", nb_normal(t, NB_SHAPE(3), 0, 1, &r)),
                   nb_leaf("y", nb_normal(t, NB_SHAPE(3), 0, 1, &r)), nb_input(t, "s", 0.3)};
    nb_var out[9], f = nb_num(0);
    nb_segment(&(nb_segment_spec){.name = "wave", .fn = wave}, 2, in, 2, out);
    nb_loop(&(nb_loop_spec){.name = "relax", .fn = relax, .steps = 5, .memory = 2}, 1, in, 1,
            &in[2], &out[2]);
    out[3] = nb_straight_through(nb_round(in[0]), nb_sin(in[1]));
    out[4] = nb_scale_gradient(nb_square(in[0]), 0.5);
    out[5] = nb_clip_gradient_norm(nb_square(in[1]), 1e6);
    out[6] = nb_straight_through(nb_round(in[2]), nb_exp(in[2]));
    out[7] = nb_reshape(nb_square(in[0]), NB_SHAPE(1, 3));
    out[8] = nb_reverse_gradient(nb_mul(in[2], in[0]), 2);
    ck_assert_str_eq(nb_message(t), "");
    for (int mode = 0; mode < 3; mode++)
        same_as_dense("segments and hooks", COUNT(out), out, COUNT(in), in, (nb_jacobian_mode)mode,
                      _i ? 1e-6 : 1e-14);
    nb_var turned = nb_hook(in[0], turn, NULL); /* it moves the elements of the adjoint */
    same_as_dense("hook", 1, &turned, COUNT(in), in, NB_JACOBIAN_REVERSE, 0);
    for (size_t k = 0; k < COUNT(out); k++)
        f = nb_add(f, nb_sum(nb_square(out[k])));
    double dense[49];
    size_t extra;
    ck_assert_int_eq(nb_hessian(f, COUNT(in), in, dense), NB_OK);
    nb_sparse *s = nb_sparse_hessian(f, COUNT(in), in);
    ck_assert_int_eq(nb_sparse_values(s, 1, &f, COUNT(in), in), NB_OK);
    ck_assert(apart(nb_sparse_matrix(s), dense, &extra) <= (_i ? 1e-6 : 1e-14));
    nb_sparse_free(s);
    nb_tape_free(t);
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
    tcase_add_loop_test(c, segments_and_hooks, 0, 2);
    tcase_add_test(c, without_memory);
    tcase_add_test(c, refusals);
    tcase_add_test(c, empty);
    return run_case("sparsity", c);
}
