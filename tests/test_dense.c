/*
 * A layer in one node against the same layer in two: f(x w + b) recorded as dense must give, bit for
 * bit, the value and the gradients of f applied to the affine map. The shapes are such that every path
 * of the matrix product comes by: blocks in each direction, ragged edges, exchanged roles, few rows or
 * columns, a single k. Below that, the product's promise that each finished element is seen once.
 */
#include "run.h"

#include "kernels/matmul.h"
#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int64_t n, k, m;
} shapes[] = {
    {5, 7, 3},   {1, 40, 33}, {3, 300, 70}, {64, 1, 40}, {37, 600, 130}, {130, 17, 1},
    {9, 64, 16}, {2, 5, 300}, {200, 3, 50}, {0, 4, 3},   {4, 0, 3},      {4, 3, 0},
};

static nb_var twice(nb_var x) { return nb_mul(2, x); }

static nb_var (*const functions[])(nb_var) = {nb_relu, nb_tanh,      nb_sigmoid, nb_gelu, nb_silu,
                                              nb_exp,  nb_hard_tanh, nb_relu6,   twice,   NULL};

enum { FUNCTIONS = sizeof functions / sizeof *functions, LARGEST = 1 << 17 };

static nb_var input(nb_tape *t, nb_shape shape, nb_rng *r)
{
    return nb_leaf(NULL, nb_uniform(t, shape, -0.3, 0.3, r));
}

/* Value and gradients of sum(y^2), one after the other; returns how many bytes. */
static size_t results(nb_tape *t, nb_var y, const nb_var *in, char *to)
{
    const size_t element = nb_tape_dtype(t) == NB_F64 ? 8 : 4;
    size_t at = (size_t)nb_size(y) * element;
    ck_assert_int_eq(nb_status(t), NB_OK);
    memcpy(to, nb_data(y), at);
    ck_assert_int_eq(nb_backward(nb_sum(nb_square(y))), NB_OK);
    for (int k = 0; k < 3; k++) {
        const size_t bytes = (size_t)nb_size(in[k]) * element;
        ck_assert_uint_le(at + bytes, LARGEST * 8);
        if (bytes && nb_grad_data(in[k]))
            memcpy(to + at, nb_grad_data(in[k]), bytes);
        at += bytes;
    }
    return at;
}

START_TEST(one_node_is_two)
{
    char *a = calloc(LARGEST, 8), *b = calloc(LARGEST, 8);
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i % 2 ? NB_F32 : NB_F64});
    nb_var (*f)(nb_var) = functions[_i / 2];
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        nb_rng r = nb_rng_seed(s);
        const int64_t n = shapes[s].n, k = shapes[s].k, m = shapes[s].m;
        nb_var in[3] = {input(t, NB_SHAPE(n, k), &r), input(t, NB_SHAPE(k, m), &r),
                        input(t, NB_SHAPE(m), &r)};
        const nb_var z = nb_affine(in[0], in[1], in[2]);
        const size_t bytes = results(t, f ? f(z) : z, in, a);
        ck_assert_uint_eq(bytes, results(t, nb_dense(in[0], in[1], in[2], f), in, b));
        if (memcmp(a, b, bytes))
            ck_abort_msg("shape %zu, function %d: the bits differ", s, _i / 2);
        ck_assert_int_eq(nb_reset(t), NB_OK);
    }
    nb_tape_free(t);
    free(a), free(b);
}
END_TEST

START_TEST(memory_of_a_layer)
{
    nb_tape *t = nb_tape_new(&(nb_options){.bytes = 64 << 20}); /* no array starts a new piece */
    nb_var x = nb_zeros(t, NB_SHAPE(4000, 10)), w = nb_leaf("w", nb_zeros(t, NB_SHAPE(10, 100)));
    nb_var b = nb_zeros(t, NB_SHAPE(100));
    size_t before = nb_tape_used(t), array = 4000 * 100 * sizeof(double);
    nb_dense(x, w, b, nb_relu);
    ck_assert_uint_lt(nb_tape_used(t) - before, array + array / 10); /* y alone */
    before = nb_tape_used(t);
    nb_dense(x, w, b, nb_tanh);
    ck_assert_uint_lt(nb_tape_used(t) - before, 2 * array + array / 10);
    nb_set_recording(t, false);
    before = nb_tape_used(t);
    nb_dense(x, w, b, nb_tanh);
    ck_assert_uint_lt(nb_tape_used(t) - before, array + array / 10);
    nb_tape_free(t);
}
END_TEST

START_TEST(refusals)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_zeros(t, NB_SHAPE(2, 3)), w = nb_zeros(t, NB_SHAPE(4, 5));
    nb_var y = nb_dense(x, w, nb_zeros(t, NB_SHAPE(5)), nb_relu);
    ck_assert(!nb_ok(y));
    ck_assert_int_eq(nb_status(t), NB_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "dense: inner dimensions differ"));
    nb_clear(t);
    ck_assert(nb_ok(nb_dense(w, nb_zeros(t, NB_SHAPE(5, 1)), nb_zeros(t, NB_SHAPE(1)), nb_relu)));
    nb_tape_free(t);
}
END_TEST

/* ---- the product's promise ------------------------------------------------------------------- */

static void mark(const void *context, int64_t n, void *c)
{
    (void)context;
    for (int64_t i = 0; i < n; i++)
        ((float *)c)[i] += 1000;
}

/* Every element is handed over once, after its last change, in every path of the product. */
static bool each_is_finished_once(nbi_isa isa, int64_t m, int64_t n, int64_t k, int form)
{
    const int64_t gap = form & 4 ? 5 : 0;
    float *a = calloc((size_t)(m * k + 1), 4), *b = calloc((size_t)(k * n + 1), 4);
    float *c = calloc((size_t)(m * (n + gap) + 1), 4);
    void *scratch = aligned_alloc(64, (nbi_matmul_scratch(isa, false, m, n, k) + 127) / 64 * 64);
    for (int64_t i = 0; i < m * k; i++)
        a[i] = 1;
    for (int64_t i = 0; i < k * n; i++)
        b[i] = 1;
    nbi_matmul p = {.m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .ldc = n + gap};
    p.ta = form & 1, p.tb = form & 2;
    p.lda = p.ta ? m : k, p.ldb = p.tb ? k : n;
    p.scratch = scratch;
    p.finish = mark;
    nbi_matmul_choose(isa, false)(&p);
    bool good = true;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n + gap; j++)
            good = good && c[i * (n + gap) + j] == (j < n ? (float)k + 1000 : 0);
    free(a), free(b), free(c), free(scratch);
    return good;
}

START_TEST(finished_elements)
{
    const nbi_isa isa = (nbi_isa)_i;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int form = 0; form < 8 && nbi_isa_available(isa); form++)
            if (!each_is_finished_once(isa, shapes[s].n, shapes[s].m, shapes[s].k, form))
                ck_abort_msg("%s: shape %zu, form %d", nbi_isa_name(isa), s, form);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("dense");
    tcase_add_loop_test(c, one_node_is_two, 0, 2 * FUNCTIONS);
    tcase_add_test(c, memory_of_a_layer);
    tcase_add_test(c, refusals);
    tcase_add_loop_test(c, finished_elements, 0, NBI_ISA_COUNT);
    return run_case("dense", c);
}
