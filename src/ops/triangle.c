/*
 * Triangles: a matrix without what lies on one side of a diagonal.
 *
 * Diagonal k of a matrix is where column - row = k. lower keeps column - row <= k, upper keeps
 * column - row >= k; the rest becomes 0. It is a selection, not a product: an infinite element that
 * is not kept leaves no NaN behind.
 *
 * As a matrix on the elements, the map is diagonal with ones and zeros, its own transpose: the
 * adjoint is cut to the same triangle. The operand may be a batch of matrices on the last two axes.
 * Row by row, what is kept is one run of columns [begin, end).
 */
#include "ops/array.h"
#include "ops/records.h"
#include <nabla/ops.h>

typedef struct triangle {
    int64_t k; /* at most one step beyond the matrix, after the shape rule */
    bool lower;
} triangle;

static nb_code triangle_shape(const nb_call *c, nb_shape *out)
{
    triangle *t = c->state;
    const nb_array *x = &c->in[0];
    if (x->rank < 2)
        return nb_refuse(c, NB_ERR_SHAPE, "needs a matrix, or a batch of them", NULL);
    int64_t rows = x->dims[x->rank - 2], columns = x->dims[x->rank - 1];
    t->k = t->k < -rows ? -rows : t->k > columns ? columns : t->k;
    *out = nbi_shape_in(x);
    return NB_OK;
}

static int64_t clamp(int64_t v, int64_t high) { return v < 0 ? 0 : v > high ? high : v; }

/* y = or += the triangle of x. */
static void cut_triangle(const triangle *t, const nb_array *y, const nb_array *x, bool add)
{
    if (x->size == 0)
        return;
    int64_t rows = x->dims[x->rank - 2], columns = x->dims[x->rank - 1];
    for (int64_t at = 0, row = 0; at < x->size; at += columns, row++) {
        row = row == rows ? 0 : row;
        int64_t begin = t->lower ? 0 : clamp(row + t->k, columns);
        int64_t end = t->lower ? clamp(row + t->k + 1, columns) : columns;
        nbi_move_run(x->dtype, end - begin, nbi_place(y->dtype, y->data, at + begin),
                     nbi_place(x->dtype, x->data, at + begin), add);
        if (!add) {
            nbi_fill(y->dtype, begin, nbi_place(y->dtype, y->data, at), 0);
            nbi_fill(y->dtype, columns - end, nbi_place(y->dtype, y->data, at + end), 0);
        }
    }
}

static nb_code triangle_forward(const nb_call *c)
{
    cut_triangle(c->state, c->out, &c->in[0], false);
    return NB_OK;
}

static nb_var same_triangle(nb_var x, const triangle *t)
{
    return t->lower ? nb_lower(x, t->k) : nb_upper(x, t->k);
}

static nb_code triangle_reverse(const nb_rule *r)
{
    r->d[0] = same_triangle(r->g, r->state);
    return NB_OK;
}

static nb_code triangle_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                       const bool *add)
{
    if (gin[0])
        cut_triangle(c->state, gin[0], g, add[0]);
    return NB_OK;
}

static nb_code triangle_tangent(const nb_rule *r)
{
    r->d[0] = same_triangle(r->t[0], r->state);
    return NB_OK;
}

static nb_var triangle_sample(nb_sampler *s, int k, bool lower)
{
    static const int64_t diagonal[] = {0, 1, -2, 0, 9, -1, 0};
    triangle t = {k < 7 ? diagonal[k] : 0, lower};
    switch (k) {
    case 0: return same_triangle(nb_sample(s, NB_SHAPE(4, 4), -2, 2), &t);
    case 1: return same_triangle(nb_sample(s, NB_SHAPE(3, 5), -2, 2), &t);
    case 2: return same_triangle(nb_sample(s, NB_SHAPE(5, 3), -2, 2), &t);
    case 3: return same_triangle(nb_sample(s, NB_SHAPE(2, 3, 3), -2, 2), &t);
    case 4: return same_triangle(nb_sample(s, NB_SHAPE(2, 2), -2, 2), &t);
    case 5: return same_triangle(nb_sample(s, NB_SHAPE(1, 1, 2, 1, 2, 1, 3, 2), -2, 2), &t);
    case 6: return same_triangle(nb_sample(s, NB_SHAPE(2, 0), -2, 2), &t);
    default: return NB_NONE;
    }
}

static nb_var lower_sample(nb_sampler *s, int k) { return triangle_sample(s, k, true); }
static nb_var upper_sample(nb_sampler *s, int k) { return triangle_sample(s, k, false); }

const nb_op nbi_op_lower = {
    .name = "lower",
    .doc = "zeroes what lies above a diagonal",
    .shape = triangle_shape,
    .forward = triangle_forward,
    .reverse = triangle_reverse,
    .reverse_arrays = triangle_reverse_arrays,
    .overwrites = true,
    .tangent = triangle_tangent,
    .sample = lower_sample,
};

const nb_op nbi_op_upper = {
    .name = "upper",
    .doc = "zeroes what lies below a diagonal",
    .shape = triangle_shape,
    .forward = triangle_forward,
    .reverse = triangle_reverse,
    .reverse_arrays = triangle_reverse_arrays,
    .overwrites = true,
    .tangent = triangle_tangent,
    .sample = upper_sample,
};

nb_var(nb_lower)(nb_var x, int64_t k)
{
    triangle t = {k, true};
    return nb_apply(&nbi_op_lower, 1, &x, &t, sizeof t);
}

nb_var(nb_upper)(nb_var x, int64_t k)
{
    triangle t = {k, false};
    return nb_apply(&nbi_op_upper, 1, &x, &t, sizeof t);
}
