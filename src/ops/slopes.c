/*
 * The table as graph code: the symbolic rule behind higher derivatives.
 *
 * A slope's body in table.def, expanded with the public operations, is a function from vars to a var.
 * It is used wherever a derivative is to be recorded instead of computed: by nb_diff, and by the
 * records' reverse and tangent rules. The products go through nb_chain, so that an adjoint of exactly
 * 0 contributes exactly 0 in every order. A slope that is a plain number costs a plain product, or
 * none.
 */
#include "ops/elementwise.h"

#include <math.h>
#include <nabla/ops.h>

#include "table/operations.h"
#define NBI_OP1(name, a)       (nb_##name)(a)
#define NBI_OP2(name, a, b)    (nb_##name)(a, b)
#define NBI_OP3(name, a, b, c) (nb_##name)(a, b, c)
#define K(c)                   nb_num((double)(c))
#define LET(name, expression)  const nb_var name = expression;
#define RETURN(expression)     return expression;
#define SELECT(c, a, b)        (nb_where)(c, a, b)
#define GRAPH(name, letter, slope)                                                                 \
    static nb_var graph_##letter##_##name(const nb_var *operands, nb_var r)                        \
    {                                                                                              \
        OPERANDS                                                                                   \
        slope                                                                                      \
    }
#define UNARY(name, w, k, a, b, text, value, dx) GRAPH(name, x, dx)
#define OPERANDS                                                                                   \
    const nb_var x = operands[0];                                                                  \
    (void)x, (void)r;
#define BINARY(name, ...)
#define TERNARY(name, ...)
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef OPERANDS
#define UNARY(name, ...)
#define BINARY(name, w, kind, a, b, c, d, text, value, dx, dy)                                     \
    GRAPH(name, x, dx)                                                                             \
    GRAPH(name, y, dy)
#define OPERANDS                                                                                   \
    const nb_var x = operands[0], y = operands[1];                                                 \
    (void)x, (void)y, (void)r;
#include "table/table.def"
#undef BINARY
#undef TERNARY
#undef OPERANDS
#define BINARY(name, ...)
#define TERNARY(name, w, kind, a, b, c, d, e, f, text, value, dx, dy, dz)                          \
    GRAPH(name, x, dx)                                                                             \
    GRAPH(name, y, dy)                                                                             \
    GRAPH(name, z, dz)
#define OPERANDS                                                                                   \
    const nb_var x = operands[0], y = operands[1], z = operands[2];                                \
    (void)x, (void)y, (void)z, (void)r;
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OPERANDS
#include "table/operations.h"

typedef nb_var (*graph_fn)(const nb_var *x, nb_var r);

#define UNARY(name, ...)   [NBI_ROW_##name] = {graph_x_##name},
#define BINARY(name, ...)  [NBI_ROW_##name] = {graph_x_##name, graph_y_##name},
#define TERNARY(name, ...) [NBI_ROW_##name] = {graph_x_##name, graph_y_##name, graph_z_##name},
static const graph_fn graphs[NBI_ROWS][3] = {
#include "table/table.def"
};
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

nb_var nbi_row_product(enum nbi_row row, size_t k, const nb_var *x, nb_var r, nb_var g)
{
    if (!graphs[row][k])
        return NB_NONE;
    nb_var in[3];
    for (int j = 0; j < nbi_rows[row].arity; j++) {
        const double *range = &nbi_rows[row].range[2 * j];
        in[j] = range[0] == range[1] ? nb_detach(x[j]) : x[j]; /* a whole number, held fixed */
    }
    nb_var slope = graphs[row][k](in, r);
    if (slope.tape || nbi_is_inert(slope))
        return nb_chain(g, slope);
    double s = nbi_number(slope);
    return s == 1 ? g : s == -1 ? nb_neg(g) : nb_mul(g, slope);
}
