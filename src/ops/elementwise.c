/*
 * The rows of the table as operations: the public functions, and a record per row.
 *
 * A call on scalars becomes an interned node (tape/rows.c); a call with a tensor goes through
 * nb_apply with the row's record, whose rules are the same few functions for all rows: the record's
 * place in the array is the row. A call on numbers alone is a number.
 */
#include "ops/elementwise.h"

#include "kernels/elementwise.h"
#include <nabla/ops.h>

#define NBI_REAL   double
#define NBI_SUFFIX
#include "table/arithmetic.h"

double nbi_row_value(enum nbi_row row, const double *v)
{
    switch (row) {
#define UNARY(name, ...)   case NBI_ROW_##name: return nbi_value_##name(v[0]);
#define BINARY(name, ...)  case NBI_ROW_##name: return nbi_value_##name(v[0], v[1]);
#define TEST(name, ...)    case NBI_ROW_##name: return nbi_value_##name(v[0], v[1]);
#define TERNARY(name, ...) case NBI_ROW_##name: return nbi_value_##name(v[0], v[1], v[2]);
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TEST
#undef TERNARY
    default: return 0;
    }
}

nb_var nbi_row_call(enum nbi_row row, const nb_var *x)
{
    const size_t n = (size_t)nbi_rows[row].arity;
    double v[3] = {0};
    nb_var inert;
    for (size_t k = 0; k < n; k++) /* nb_apply looks at the handles itself */
        if (x[k].tape && x[k].epoch & NBI_TENSOR)
            return nb_apply(&nbi_row_ops[row], n, x, NULL, 0);
    nb_tape *t = nbi_home(nbi_rows[row].name, n, x, &inert);
    if (!t && (inert.tape || nbi_is_inert(x[0]) || (n > 1 && nbi_is_inert(x[1])) ||
               (n > 2 && nbi_is_inert(x[2]))))
        return inert;
    for (size_t k = 0; k < n; k++)
        v[k] = x[k].tape ? t->hot.cells[x[k].index].value : nbi_number(x[k]);
    double value = nbi_row_value(row, v);
    return t ? nbi_record_row(t, row, x, value) : nb_num(value);
}

/* ---- the public functions -------------------------------------------------------------------- */

#define UNARY(name, ...)                                                                           \
    nb_var(nb_##name)(nb_var x)                                                                    \
    {                                                                                              \
        if (nbi_fast1(x))                                                                          \
            return nbi_push(x.tape, NBI_OP_##name, x.index, 0, nbi_value_##name(nbi_at(x)));       \
        return nbi_row_call(NBI_ROW_##name, &x);                                                   \
    }
#define BINARY(name, ...)                                                                          \
    nb_var(nb_##name)(nb_var x, nb_var y)                                                          \
    {                                                                                              \
        if (nbi_fast2(x, y))                                                                       \
            return nbi_push(x.tape, NBI_OP_##name, x.index, y.index,                               \
                            nbi_value_##name(nbi_at(x), nbi_at(y)));                               \
        return nbi_row_call(NBI_ROW_##name, (nb_var[]){x, y});                                     \
    }
#define TERNARY(name, ...)                                                                         \
    nb_var(nb_##name)(nb_var x, nb_var y, nb_var z)                                                \
    {                                                                                              \
        uint32_t at[3];                                                                            \
        nb_tape *t = nbi_fast3(x, y, z, at);                                                       \
        if (t) {                                                                                   \
            const nbi_cell *c = t->hot.cells;                                                      \
            return nbi_push3(t, NBI_OP_##name, at,                                                 \
                             nbi_value_##name(c[at[0]].value, c[at[1]].value, c[at[2]].value));    \
        }                                                                                          \
        return nbi_row_call(NBI_ROW_##name, (nb_var[]){x, y, z});                                  \
    }
#define TEST(name, ...)                                                                            \
    nb_var(nb_##name)(nb_var x, nb_var y)                                                          \
    {                                                                                              \
        return nbi_row_call(NBI_ROW_##name, (nb_var[]){x, y});                                     \
    }
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

/* ---- the record's rules ---------------------------------------------------------------------- */

static enum nbi_row row_of(const nb_op *op) { return (enum nbi_row)(op - nbi_row_ops); }

static nb_code shape_rule(const nb_call *c, nb_shape *out)
{
    for (size_t k = 1; k < c->n_in; k++)
        if (c->in[k].rank >= 0 && !nbi_broadcast(out, c->in[k].rank, c->in[k].dims)) {
            char text[NBI_SHAPE_TEXT];
            return nb_refuse(c, NB_ERR_SHAPE, "the shapes do not broadcast",
                             "aligned at the last axis, each pair of dimensions must be equal or "
                             "contain a 1; operand %c is %s",
                             (int)('a' + k), nbi_shape_text(text, c->in[k].rank, c->in[k].dims));
        }
    return NB_OK;
}

static nb_code forward_rule(const nb_call *c)
{
    nbi_row_forward(&c->tape->crew, c->tape->rows, row_of(c->op), c->n_in, c->in, c->out);
    return NB_OK;
}

/* An operand that did not stretch gets its adjoint in place; another through a full-size scratch. */
static nb_code reverse_rule(const nb_call *c, const nb_array *g, nb_array *const *gin,
                            const bool *add)
{
    const enum nbi_row row = row_of(c->op);
    for (size_t k = 0; k < c->n_in; k++) {
        if (!gin[k])
            continue;
        if (gin[k]->size == g->size && gin[k]->dtype == g->dtype) {
            nbi_row_reverse(&c->tape->crew, c->tape->rows, row, k, c->n_in, c->in, c->out, g, gin[k], add[k]);
            continue;
        }
        nbi_spot spot = c->tape->scratch.at;
        nb_array full = *g;
        full.data = nbi_scratch(c->tape, (size_t)g->size * nbi_element(g->dtype));
        if (!full.data)
            return nbi_no_memory(c->tape, c->op->name);
        nbi_row_reverse(&c->tape->crew, c->tape->rows, row, k, c->n_in, c->in, c->out, g, &full, false);
        nbi_reduce_into(&c->tape->crew, &full, gin[k], add[k]);
        nbi_give_back(&c->tape->scratch, spot);
    }
    return NB_OK;
}

static nb_code graph_rule(const nb_rule *r)
{
    for (size_t k = 0; k < r->n_in; k++)
        if (r->want[k])
            r->d[k] = nbi_row_product(row_of(r->op), k, r->in, r->out, r->g);
    return NB_OK;
}

static nb_code tangent_rule(const nb_rule *r)
{
    for (size_t k = 0; k < r->n_in; k++) {
        nb_var d = r->want[k] ? nbi_row_product(row_of(r->op), k, r->in, r->out, r->t[k]) : NB_NONE;
        if (nbi_is_inert(d) && !d.tape)
            continue;
        r->d[0] = nbi_is_inert(r->d[0]) ? d : nb_add(r->d[0], d);
    }
    return NB_OK;
}

/* ---- samples --------------------------------------------------------------------------------- */

/* Each kind of shape, and each way in which two or three broadcast; {-1} is a scalar. */
static const nb_shape shapes[][3] = {
    {{0, {0}}, {0, {0}}, {0, {0}}},
    {{1, {1}}, {1, {1}}, {1, {1}}},
    {{1, {7}}, {1, {7}}, {1, {7}}},
    {{2, {3, 5}}, {1, {5}}, {2, {3, 1}}},
    {{1, {5}}, {2, {3, 5}}, {-1, {0}}},
    {{2, {3, 1}}, {2, {1, 4}}, {2, {3, 4}}},
    {{3, {2, 1, 3}}, {-1, {0}}, {1, {1}}},
    {{-1, {0}}, {2, {2, 3}}, {3, {2, 1, 1}}},
    {{2, {0, 3}}, {1, {3}}, {2, {1, 1}}},
    {{8, {1, 2, 1, 1, 2, 1, 1, 2}}, {4, {2, 1, 1, 2}}, {1, {2}}},
    {{-1, {0}}, {-1, {0}}, {-1, {0}}},
};

static nb_var sample_row(enum nbi_row row, nb_sampler *s, int k)
{
    nb_var x[3];
    if ((size_t)k >= sizeof shapes / sizeof *shapes)
        return NB_NONE;
    for (int j = 0; j < nbi_rows[row].arity; j++) {
        const double low = nbi_rows[row].range[2 * j], high = nbi_rows[row].range[2 * j + 1];
        x[j] = shapes[k][j].rank < 0 ? nb_sample_scalar(s, low, high)
                                     : nb_sample(s, shapes[k][j], low, high);
    }
    return nbi_row_call(row, x);
}

#define UNARY(name, ...)                                                                           \
    static nb_var sample_##name(nb_sampler *s, int k) { return sample_row(NBI_ROW_##name, s, k); }
#define BINARY(name, ...)  UNARY(name, )
#define TERNARY(name, ...) UNARY(name, )
#define TEST(name, ...)    UNARY(name, )
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

#define ROW(row_name, text)                                                                        \
    [NBI_ROW_##row_name] = {.name = #row_name,                                                     \
                            .doc = text,                                                           \
                            .shape = shape_rule,                                                   \
                            .forward = forward_rule,                                               \
                            .reverse = graph_rule,                                                 \
                            .reverse_arrays = reverse_rule,                                        \
                            .overwrites = true,                                                    \
                            .tangent = tangent_rule,                                               \
                            .sample = sample_##row_name},
#define UNARY(name, w, k, a, b, text, ...)               ROW(name, text)
#define BINARY(name, w, k, a, b, c, d, text, ...)        ROW(name, text)
#define TERNARY(name, w, k, a, b, c, d, e, f, text, ...) ROW(name, text)
#define TEST(row_name, text, ...)                                                                  \
    [NBI_ROW_##row_name] = {.name = #row_name,                                                     \
                            .doc = text,                                                           \
                            .shape = shape_rule,                                                   \
                            .forward = forward_rule,                                               \
                            .reverse = graph_rule,                                                 \
                            .tangent = tangent_rule,                                               \
                            .sample = sample_##row_name},
const nb_op nbi_row_ops[NBI_ROWS] = {
#include "table/table.def"
};
