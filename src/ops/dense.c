/*
 * A layer of a network in one node: y = f(x w + b), f an elementwise function of the table.
 *
 *     x [… k],  w [k m],  b [m]      y [… m]
 *
 * f is applied to a few rows of z = x w + b at a time, as the product finishes them and while they are
 * in the nearest cache. With g the adjoint of y,
 *
 *     dz = g f'(z),      and from dz on as for x w + b (see affine.c).
 *
 * f' wants z, which is therefore kept beside y, unless f'(z) = f'(f(z)): relu and its like leave their
 * argument alone wherever they do anything but cut, so there y is kept in its place.
 *
 * The caller names f by the library's own function, nb_relu say. Any other function is called on the
 * affine map.
 */
#include "ops/elementwise.h"
#include "ops/product.h"
#include "ops/records.h"
#include <nabla/ops.h>

typedef nb_var function(nb_var);

typedef struct dense {
    enum nbi_row row;
    void *z; /* [… m], or NULL: y serves */
} dense;

static const struct {
    function *f;
    enum nbi_row row;
} functions[] = {
#define UNARY(name, ...) {nb_##name, NBI_ROW_##name},
#define BINARY(name, ...)
#define TERNARY(name, ...)
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
};

static bool result_tells(enum nbi_row row)
{
    return row == NBI_ROW_relu || row == NBI_ROW_relu6 || row == NBI_ROW_hard_tanh;
}

/* From z to y, which lie at the same distance from their starts. */
typedef struct activation {
    nbi_row_forward_fn f;
    const char *z;
    char *y;
} activation;

static void activate(const void *context, int64_t n, void *c)
{
    const activation *a = context;
    const void *in = c;
    a->f(n, &in, (int64_t[]){1}, a->y + ((const char *)c - a->z));
}

static nb_code dense_forward(const nb_call *c)
{
    dense *s = c->state;
    const nb_array *y = c->out;
    nbi_matmul p = nbi_affine_product(c);
    if (c->tape->recording && !result_tells(s->row)) {
        p.c = s->z = nb_keep(c, (size_t)y->size * nbi_element(y->dtype));
        if (!s->z)
            return NB_ERR_MEMORY;
    }
    const activation a = {c->tape->rows->forward[y->dtype][s->row], p.c, y->data};
    p.finish = activate;
    p.context = &a;
    return nbi_tape_matmul(c->tape, y->dtype, &p) ? NB_OK : NB_ERR_MEMORY;
}

static nb_code dense_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                    const bool *add)
{
    const dense *s = c->state;
    const void *z = s->z ? s->z : c->out->data;
    nb_array dz = *g;
    dz.data = nbi_scratch(c->tape, (size_t)g->size * nbi_element(g->dtype));
    if (!dz.data)
        return nbi_no_memory(c->tape, "dense");
    c->tape->rows->reverse[g->dtype][s->row][0](g->size, &z, (int64_t[]){1}, c->out->data, g->data,
                                                dz.data, false);
    return nbi_affine_adjoints(c, &dz, gin, add);
}

static nb_code dense_reverse(const nb_rule *r)
{
    const dense *s = r->state;
    const nb_var z = nb_affine(r->in[0], r->in[1], r->in[2]);
    const nb_var dz = nbi_row_product(s->row, 0, &z, r->out, r->g);
    return nbi_is_inert(dz) && !dz.tape ? NB_OK : nbi_affine_rule(r, dz);
}

static nb_var dense_sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape x;
        int64_t k, m;
        function *f;
    } sample[] = {
        {{1, {4}}, 4, 3, nb_tanh},       {{2, {3, 4}}, 4, 2, nb_relu},
        {{2, {5, 3}}, 3, 4, nb_sigmoid}, {{2, {9, 2}}, 2, 5, nb_gelu},
        {{3, {2, 3, 2}}, 2, 1, nb_silu}, {{2, {0, 3}}, 3, 2, nb_tanh},
        {{2, {3, 0}}, 0, 2, nb_exp},     {{2, {2, 3}}, 3, 0, nb_relu6},
        {{2, {2, 3}}, 3, 4, nb_sin},     {{2, {1, 2}}, 2, 2, nb_hard_tanh},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_var x = nb_sample(s, sample[k].x, -1, 1);
    nb_var w = nb_sample(s, NB_SHAPE(sample[k].k, sample[k].m), -1, 1);
    nb_var b = nb_sample(s, NB_SHAPE(sample[k].m), -1, 1);
    return nb_dense(x, w, b, sample[k].f);
}

const nb_op nbi_op_dense = {
    .name = "dense",
    .doc = "a function of the table applied to x w + b",
    .shape = nbi_affine_shape,
    .forward = dense_forward,
    .reverse = dense_reverse,
    .reverse_arrays = dense_reverse_arrays,
    .overwrites = true,
    .sample = dense_sample,
};

nb_var(nb_dense)(nb_var x, nb_var w, nb_var b, nb_var (*f)(nb_var))
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (functions[i].f == f) {
            const dense s = {.row = functions[i].row};
            return nb_apply(&nbi_op_dense, 3, (nb_var[]){x, w, b}, &s, sizeof s);
        }
    const nb_var z = nb_affine(x, w, b);
    return f ? f(z) : z;
}
