/*
 * Reading the graph and its values: what tools, messages and users ask of a node.
 */
#include "tape/tape.h"

#include <math.h>

#define NBI_REAL   double
#define NBI_SUFFIX
#include "table/arithmetic.h"

const nbi_row_info nbi_rows[NBI_ROWS] = {
#define UNARY(name, weight, kind, a, b, text, ...) {#name, text, 1, NBI_OP_##name, {a, b}},
#define BINARY(name, weight, kind, a, b, c, d, text, ...)                                          \
    {#name, text, 2, NBI_OP_##name, {a, b, c, d}},
#define TERNARY(name, weight, kind, a, b, c, d, e, f, text, ...)                                   \
    {#name, text, 3, NBI_OP_##name, {a, b, c, d, e, f}},
#define TEST(name, text, ...) {#name, text, 2, 0, {-1, 1, -1, 1}},
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
};

/* Opcode to row; -1 where it is none. Variants count as their row. */
static int row_of_opcode(uint8_t op)
{
    static const int16_t rows[256] = {
#define UNARY(name, ...) [NBI_OP_##name] = NBI_ROW_##name + 1,
#define BINARY(name, ...)                                                                          \
    [NBI_OP_##name] = NBI_ROW_##name + 1, [NBI_OP_##name##_vc] = NBI_ROW_##name + 1,               \
    [NBI_OP_##name##_cv] = NBI_ROW_##name + 1,
#define TERNARY(name, ...) [NBI_OP_##name] = NBI_ROW_##name + 1,
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
    };
    return rows[op] - 1;
}

int nbi_row_of(const nb_tape *t, uint32_t i)
{
    uint8_t op = t->hot.ops[i];
    return op == NBI_STILL ? (int)t->hot.args[i].b : row_of_opcode(op);
}

/* ---- the nodes as a graph -------------------------------------------------------------------- */

static const struct {
    const char *name, *text;
} many[] = {
    [NBI_INPUT] = {"input", "a value given from outside"},
    [NBI_CONSTANT] = {"constant", "a value without gradient"},
    [NBI_SUM] = {"sum_of", "the sum of scalars"},
    [NBI_MEAN] = {"mean_of", "the mean of scalars"},
    [NBI_DOT] = {"dot_of", "the sum of the products of scalars, pair by pair"},
    [NBI_COMBINE] = {"combine_of", "a linear combination of scalars with fixed coefficients"},
    [NBI_LOGSUMEXP] = {"logsumexp_of", "the logarithm of the sum of the exponentials of scalars"},
    [NBI_NORM] = {"norm_of", "the Euclidean norm of scalars"},
    [NBI_MAX] = {"max_of", "the greatest of scalars"},
    [NBI_MIN] = {"min_of", "the least of scalars"},
    [NBI_MAXOUT] = {"maxout_of", "the greatest of affine pieces of scalars"},
};

size_t nbi_operands(const nb_tape *t, uint32_t i)
{
    uint8_t op = t->hot.ops[i];
    int row = nbi_row_of(t, i);
    if (row >= 0)
        return (size_t)nbi_rows[row].arity;
    if (op == NBI_RECORD)
        return nbi_record_at(t, i)->n_in;
    return op >= NBI_SUM && op <= NBI_MAXOUT ? t->hot.args[i].b : 0;
}

uint32_t nbi_operand(const nb_tape *t, uint32_t i, size_t k)
{
    const nbi_args a = t->hot.args[i];
    int row = nbi_row_of(t, i);
    if (row < 0)
        return t->hot.ops[i] == NBI_RECORD ? nbi_record_at(t, i)->in[k] : t->list[a.a + k];
    int arity = nbi_rows[row].arity;
    if (arity == 3 || (arity == 2 && t->hot.ops[i] == NBI_STILL))
        return t->list[a.a + k];
    return k ? a.b : a.a;
}

size_t nbi_ways(const nb_tape *t, uint32_t i, const uint32_t **in)
{
    static const uint8_t arity[256] = {
#define UNARY(name, ...) [NBI_OP_##name] = 1,
#define BINARY(name, ...)                                                                          \
    [NBI_OP_##name] = 2, [NBI_OP_##name##_vc] = 2, [NBI_OP_##name##_cv] = 2,
#define TERNARY(name, ...) [NBI_OP_##name] = 3,
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
    };
    const uint8_t op = t->hot.ops[i];
    const nbi_args *a = &t->hot.args[i];
    if (op > NBI_SPARE_15) {
        *in = arity[op] < 3 ? (const uint32_t *)a : t->list + a->a;
        return arity[op];
    }
    if (op == NBI_RECORD) {
        const nbi_record *r = nbi_record_at(t, i);
        *in = r->in;
        return r->still ? 0 : r->n_in;
    }
    *in = t->list + a->a;
    return op >= NBI_SUM && op <= NBI_MAXOUT ? a->b : 0;
}

size_t nb_count(const nb_tape *t) { return t ? t->hot.length : 0; }

nb_var nb_node(nb_tape *t, size_t place)
{
    if (t && place < t->hot.length)
        return nbi_var(t, (uint32_t)place);
    nbi_fail(t, NB_ERR_INDEX, "node: the tape has %zu nodes, there is none at place %zu",
             nb_count(t), place);
    return nbi_inert(t);
}

static const char *name_of(const nb_tape *t, uint32_t i)
{
    size_t low = 0, high = t->n_labels;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (t->labels[mid].index < i)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->n_labels && t->labels[low].index == i ? t->labels[low].text : NULL;
}

nb_info nb_inspect(nb_var x)
{
    nb_info info = {.op = "none", .doc = "not a node", .constant = true};
    const nb_tape *t = x.tape;
    if (!t && !nbi_is_inert(x))
        return (nb_info){.op = "number", .doc = "a plain number", .constant = true};
    if (!t || !nbi_alive(t, x))
        return info;
    int row = nbi_row_of(t, x.index);
    if (row >= 0) {
        info.op = nbi_rows[row].name;
        info.doc = nbi_rows[row].text;
    } else if (t->hot.ops[x.index] == NBI_RECORD) {
        const nbi_record *r = nbi_record_at(t, x.index);
        info.op = r->op->name;
        info.doc = r->op->doc ? r->op->doc : "";
    } else {
        info.op = many[t->hot.ops[x.index]].name;
        info.doc = many[t->hot.ops[x.index]].text;
    }
    info.place = x.index;
    info.name = name_of(t, x.index);
    info.n_in = nbi_operands(t, x.index);
    info.tensor = nbi_is_tensor(t, x.index);
    info.constant = nbi_still(t, x.index);
    return info;
}

nb_var nb_input_of(nb_var x, size_t k)
{
    if (!nbi_check("input_of", x))
        return nbi_inert(x.tape);
    size_t n = nbi_operands(x.tape, x.index);
    if (k < n)
        return nbi_var(x.tape, nbi_operand(x.tape, x.index, k));
    nbi_fail(x.tape, NB_ERR_INDEX, "input_of: node %u has %zu operands, there is none at %zu",
             x.index, n, k);
    return nbi_inert(x.tape);
}

double nb_partial(nb_var x, size_t k)
{
    if (!nbi_check("partial", x) || k >= nbi_operands(x.tape, x.index))
        return (double)NAN;
    const nb_tape *t = x.tape;
    const uint32_t i = x.index;
    const double r = t->hot.cells[i].value;
    double v[3] = {0};
    int row = nbi_row_of(t, i);
    if (row < 0)
        return t->hot.ops[i] == NBI_RECORD ? (double)NAN : nbi_partial_many(t, i, k);
    for (int j = 0; j < nbi_rows[row].arity; j++)
        v[j] = t->hot.cells[nbi_operand(t, i, (size_t)j)].value;
    switch (row) {
#define UNARY(name, ...) case NBI_ROW_##name: return nbi_slope_##name(v[0], r);
#define BINARY(name, ...)                                                                          \
    case NBI_ROW_##name:                                                                           \
        return k ? nbi_slope_y_##name(v[0], v[1], r) : nbi_slope_x_##name(v[0], v[1], r);
#define TERNARY(name, ...)                                                                         \
    case NBI_ROW_##name:                                                                           \
        return k == 0   ? nbi_slope_x_##name(v[0], v[1], v[2], r)                                  \
               : k == 1 ? nbi_slope_y_##name(v[0], v[1], v[2], r)                                  \
                        : nbi_slope_z_##name(v[0], v[1], v[2], r);
#define TEST(name, ...) case NBI_ROW_##name: return 0;
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
    default: return (double)NAN;
    }
}
