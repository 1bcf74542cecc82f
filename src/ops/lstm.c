/*
 * A long short-term memory over a whole sequence, as one node.
 *
 *     x [steps n in],  w_x [in 4u],  w_h [u 4u],  b [4u],  h0, c0 [n u]        out [steps n u]
 *
 *     z(t) = x(t) w_x + b + h(t-1) w_h                the arguments of the gates [i f g o]
 *     c(t), h(t) = cell(z(t), c(t-1))                 see kernels/lstm.h
 *
 * Forward, the part of z that comes from x is one product over all steps; a step adds its product
 * with w_h in place and applies the cell. z and c of all steps are kept. Backward, the steps run in
 * reverse, each turning the adjoints of h(t) and c(t) into that of z(t), from which
 *
 *     dh(t-1) = dz(t) w_h^T                            inside the recurrence
 *     dx = dz w_x^T,  dw_x = x^T dz,  dw_h = h(-1)^T dz,  db = column sums of dz
 *
 * the second line being products over all steps at once: h(-1) is h0 followed by all results but the
 * last. Rows of the batch do not meet inside the recurrence, so it can be cut over them.
 *
 * With `cell` the last cell state follows the results as one more step: out [steps + 1 n u].
 *
 * As graph code the rule is the same recurrence written with public operations (lstm_graph.c), on
 * gates recomputed from the operands, so it differentiates to any order.
 */
#include "ops/lstm.h"

#include "base/shape.h"
#include "kernels/lstm.h"
#include "ops/array.h"
#include "ops/product.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/net.h>
#include <nabla/ops.h>

enum { X, W_X, W_H, B, H0, C0, OPERANDS };
enum { ROWS = 8 }; /* of the batch that a thread takes at least; no product gets thin by the cut */

/* ---- shapes ---------------------------------------------------------------------------------- */

static nb_code fit(const nb_call *c, int k, nb_shape due)
{
    static const char *const name[] = {"x", "w_x", "w_h", "b", "h0", "c0"};
    char is[NBI_SHAPE_TEXT], asked[NBI_SHAPE_TEXT];
    const nb_array *a = &c->in[k];
    if (nb_shape_equal(nbi_shape_in(a), due))
        return NB_OK;
    return nb_refuse(c, NB_ERR_SHAPE, "an operand does not fit", "%s is %s, the others ask for %s",
                     name[k], nbi_shape_text(is, a->rank, a->dims),
                     nbi_shape_text(asked, due.rank, due.dims));
}

static nb_code lstm_shape(const nb_call *c, nb_shape *out)
{
    nbi_lstm *s = c->state;
    const nb_array *x = &c->in[X], *w = &c->in[W_H];
    int64_t gates;
    if (x->rank != 3 || w->rank != 2)
        return nb_refuse(c, NB_ERR_SHAPE, "needs x [steps n in] and w_h [units 4 units]",
                         "x has %d axes, w_h %d", x->rank < 0 ? 0 : x->rank,
                         w->rank < 0 ? 0 : w->rank);
    s->steps = x->dims[0], s->n = x->dims[1], s->in = x->dims[2], s->units = w->dims[0];
    if (__builtin_mul_overflow(s->units, 4, &gates) || s->steps == INT64_MAX)
        return nb_refuse(c, NB_ERR_OVERFLOW, "the number of gates or steps overflows", NULL);
    const nb_shape due[] = {[W_X] = NB_SHAPE(s->in, gates),
                            [W_H] = NB_SHAPE(s->units, gates),
                            [B] = NB_SHAPE(gates),
                            [H0] = NB_SHAPE(s->n, s->units),
                            [C0] = NB_SHAPE(s->n, s->units)};
    for (int k = W_X; k < OPERANDS; k++) {
        nb_code code = fit(c, k, due[k]);
        if (code != NB_OK)
            return code;
    }
    if (nb_shape_size(NB_SHAPE(s->steps, s->n, gates)) < 0 ||
        nb_shape_size(NB_SHAPE(s->steps, s->n, s->in)) < 0)
        return nb_refuse(c, NB_ERR_OVERFLOW, "the gates of all steps overflow", NULL);
    *out = NB_SHAPE(s->steps + s->cell, s->n, s->units);
    return NB_OK;
}

/* ---- the recurrence -------------------------------------------------------------------------- */

/* What the pieces of a pass share. Rows of the batch are cut, steps are not. */
typedef struct pass {
    const nb_call *c;
    const nbi_lstm *s;
    const nbi_lstm_kernel *kernel;
    nbi_matmul_fn product;
    size_t element, each; /* bytes: of an element, of a worker's scratch */
    char *scratch;
    const nb_array *g;
    char *dz, *dh, *dc;
} pass;

static bool open_pass(pass *p, const nb_call *c)
{
    const nbi_lstm *s = c->state;
    nb_tape *t = c->tape;
    const bool wide = c->out->dtype == NB_F64;
    const size_t forward = nbi_matmul_scratch(t->isa, wide, s->n, 4 * s->units, s->units);
    const size_t reverse = nbi_matmul_scratch(t->isa, wide, s->n, s->units, 4 * s->units);
    *p = (pass){.c = c, .s = s, .element = nbi_element(c->out->dtype)};
    p->kernel = nbi_lstm_choose(t->isa, wide);
    p->product = t->matmul[wide ? 0 : 1];
    p->each = ((forward > reverse ? forward : reverse) + NBI_ALIGN - 1) & ~(size_t)(NBI_ALIGN - 1);
    p->scratch = nbi_scratch(t, p->each * (size_t)nbi_workers(t));
    return p->scratch != NULL;
}

/* Row `row` of step t in an array whose rows have so many elements. */
static char *row_at(const pass *p, const void *array, int64_t t, int64_t row, int64_t width)
{
    return (char *)array + (size_t)((t * p->s->n + row) * width) * p->element;
}

/* The rows that come before step t: of the results, or of the initial state. */
static char *before(const pass *p, const void *all, int initial, int64_t t, int64_t row)
{
    const void *from = t ? all : p->c->in[initial].data;
    return row_at(p, from, t ? t - 1 : 0, row, p->s->units);
}

static void forward_piece(void *context, int64_t from, int64_t to, int worker)
{
    const pass *p = context;
    const nbi_lstm *s = p->s;
    const int64_t u = s->units;
    for (int64_t t = 0; t < s->steps; t++) {
        char *z = row_at(p, s->z, t, from, 4 * u);
        nbi_matmul m = {.m = to - from, .n = 4 * u, .k = u, .lda = u, .ldb = 4 * u, .ldc = 4 * u};
        m.a = before(p, p->c->out->data, H0, t, from), m.b = p->c->in[W_H].data, m.c = z;
        m.accumulate = true;
        m.scratch = p->scratch + (size_t)worker * p->each;
        p->product(&m);
        nbi_lstm_cells k = {.n = to - from, .units = u, .z = z};
        k.before = before(p, s->c, C0, t, from);
        p->kernel->forward(&k, row_at(p, s->c, t, from, u), row_at(p, p->c->out->data, t, from, u));
    }
}

static void reverse_piece(void *context, int64_t from, int64_t to, int worker)
{
    const pass *p = context;
    const nbi_lstm *s = p->s;
    const int64_t u = s->units;
    char *dh = row_at(p, p->dh, 0, from, u), *dc = row_at(p, p->dc, 0, from, u);
    for (int64_t t = s->steps - 1; t >= 0; t--) {
        nbi_lstm_cells k = {.n = to - from, .units = u, .dc = dc};
        k.z = row_at(p, s->z, t, from, 4 * u), k.dz = row_at(p, p->dz, t, from, 4 * u);
        k.before = before(p, s->c, C0, t, from), k.c = row_at(p, s->c, t, from, u);
        k.g = row_at(p, p->g->data, t, from, u);
        k.later = t + 1 < s->steps ? dh : NULL;
        p->kernel->reverse(&k);
        nbi_matmul m = {.m = to - from, .n = u, .k = 4 * u, .lda = 4 * u, .ldb = 4 * u, .ldc = u};
        m.a = k.dz, m.b = p->c->in[W_H].data, m.c = dh;
        m.tb = true;
        m.scratch = p->scratch + (size_t)worker * p->each;
        p->product(&m);
    }
}

static nb_code lstm_forward(const nb_call *c)
{
    nbi_lstm *s = c->state;
    pass p;
    const int64_t u = s->units, rows = s->n * s->steps;
    const size_t bytes = nbi_element(c->out->dtype);
    if (c->out->size == 0)
        return NB_OK;
    s->z = nb_keep(c, (size_t)(rows * 4 * u) * bytes); /* of a shape that was checked */
    s->c = nb_keep(c, (size_t)(rows * u) * bytes);
    if (!s->z || !s->c || !open_pass(&p, c))
        return NB_ERR_MEMORY;
    nbi_matmul m = {.m = rows, .n = 4 * u, .k = s->in, .lda = s->in, .ldb = 4 * u, .ldc = 4 * u};
    m.a = c->in[X].data, m.b = c->in[W_X].data, m.c = s->z, m.bias = c->in[B].data;
    if (!nbi_tape_matmul(c->tape, c->out->dtype, &m))
        return NB_ERR_MEMORY;
    nbi_share(c->tape, s->n, ROWS, forward_piece, &p);
    if (s->cell)
        memcpy(row_at(&p, c->out->data, s->steps, 0, u), before(&p, s->c, C0, s->steps, 0),
               (size_t)(s->n * u) * bytes);
    return NB_OK;
}

/* ---- the adjoints of the operands ------------------------------------------------------------ */

/* to (+)= a^T dz, a [rows width], over the steps from t on. */
static bool weights(const pass *p, const void *a, int64_t width, int64_t t, int64_t rows,
                    const nb_array *to, bool add)
{
    const int64_t gates = 4 * p->s->units;
    nbi_matmul m = {.m = width, .n = gates, .k = rows, .lda = width, .ldb = gates, .ldc = gates};
    m.a = a, m.b = row_at(p, p->dz, t, 0, gates), m.c = to->data;
    m.ta = true;
    m.accumulate = add;
    return nbi_tape_matmul(p->c->tape, to->dtype, &m);
}

static void state_adjoint(nb_array *const *gin, const bool *add, int k, const void *from)
{
    if (gin[k])
        nbi_move_run(gin[k]->dtype, gin[k]->size, gin[k]->data, from, add[k]);
}

static bool give(const pass *p, nb_array *const *gin, const bool *add)
{
    const nbi_lstm *s = p->s;
    const nb_call *c = p->c;
    const int64_t gates = 4 * s->units, rows = s->steps * s->n;
    if (gin[X]) {
        nbi_matmul m = {.m = rows, .n = s->in, .k = gates, .lda = gates, .ldb = gates};
        m.ldc = s->in, m.a = p->dz, m.b = c->in[W_X].data, m.c = gin[X]->data;
        m.tb = true;
        m.accumulate = add[X];
        if (!nbi_tape_matmul(c->tape, p->g->dtype, &m))
            return false;
    }
    if (gin[W_X] && !weights(p, c->in[X].data, s->in, 0, rows, gin[W_X], add[W_X]))
        return false;
    if (gin[W_H] && (!weights(p, c->in[H0].data, s->units, 0, s->n, gin[W_H], add[W_H]) ||
                     !weights(p, c->out->data, s->units, 1, rows - s->n, gin[W_H], true)))
        return false;
    if (gin[B])
        nbi_column_sums(&c->tape->crew, p->g->dtype, rows, gates, p->dz, gin[B]->data, add[B]);
    state_adjoint(gin, add, H0, p->dh);
    state_adjoint(gin, add, C0, p->dc);
    return true;
}

/* No step or no row: nothing depends on the operands but, perhaps, the cell state on itself. */
static nb_code give_nothing(const nb_call *c, const nb_array *g, nb_array *const *gin,
                            const bool *add)
{
    const nbi_lstm *s = c->state;
    for (int k = 0; k < OPERANDS; k++)
        if (gin[k])
            nbi_clear(gin[k], add[k]);
    if (s->cell)
        state_adjoint(gin, (const bool[OPERANDS]){[C0] = true}, C0, g->data);
    return NB_OK;
}

static nb_code lstm_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                   const bool *add)
{
    const nbi_lstm *s = c->state;
    pass p;
    const size_t state = (size_t)(s->n * s->units) * nbi_element(g->dtype);
    if (s->steps == 0 || s->n == 0 || s->units == 0)
        return give_nothing(c, g, gin, add);
    if (!open_pass(&p, c))
        return NB_ERR_MEMORY;
    p.g = g;
    p.dz = nbi_scratch(c->tape, 4 * (size_t)s->steps * state);
    p.dh = nbi_scratch(c->tape, state);
    p.dc = nbi_scratch(c->tape, state);
    if (!p.dz || !p.dh || !p.dc)
        return NB_ERR_MEMORY;
    if (s->cell)
        memcpy(p.dc, row_at(&p, g->data, s->steps, 0, s->units), state);
    else
        memset(p.dc, 0, state);
    nbi_share(c->tape, s->n, ROWS, reverse_piece, &p);
    return give(&p, gin, add) ? NB_OK : NB_ERR_MEMORY;
}

/* ---- the record ------------------------------------------------------------------------------ */

static nb_var apply(const nb_var *in, bool cell)
{
    nbi_lstm s = {.cell = cell};
    return nb_apply(&nbi_op_lstm, OPERANDS, in, &s, sizeof s);
}

static nb_var lstm_sample(nb_sampler *s, int k)
{
    static const struct {
        int64_t steps, n, in, units;
        bool cell;
    } sample[] = {
        {3, 2, 2, 2, false}, {2, 1, 3, 3, true}, {1, 3, 1, 2, true},  {4, 2, 1, 1, false},
        {2, 2, 0, 1, false}, {0, 2, 3, 2, true}, {0, 2, 3, 2, false}, {2, 0, 2, 1, true},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    const int64_t n = sample[k].n, in = sample[k].in, u = sample[k].units;
    const nb_var v[] = {nb_sample(s, NB_SHAPE(sample[k].steps, n, in), -1, 1),
                        nb_sample(s, NB_SHAPE(in, 4 * u), -1, 1),
                        nb_sample(s, NB_SHAPE(u, 4 * u), -1, 1),
                        nb_sample(s, NB_SHAPE(4 * u), -1, 1),
                        nb_sample(s, NB_SHAPE(n, u), -1, 1),
                        nb_sample(s, NB_SHAPE(n, u), -1, 1)};
    return apply(v, sample[k].cell);
}

const nb_op nbi_op_lstm = {
    .name = "lstm",
    .doc = "a long short-term memory over a sequence",
    .shape = lstm_shape,
    .forward = lstm_forward,
    .reverse = nbi_lstm_reverse,
    .reverse_arrays = lstm_reverse_arrays,
    .overwrites = true,
    .sample = lstm_sample,
};

/* A state that is not given is zeros; a number if the other operands do not tell of what shape, which
 * the shape rule will then say. */
static nb_var state(nb_var given, nb_var x, nb_var w_h)
{
    if (given.tape || !nbi_is_inert(given))
        return given;
    if (nb_rank(x) != 3 || nb_rank(w_h) != 2)
        return nb_num(0);
    return nb_zeros(x.tape, NB_SHAPE(nb_dim(x, 1), nb_dim(w_h, 0)));
}

nb_var(nb_lstm)(nb_var x, nb_var w_x, nb_var w_h, nb_var b, nb_var h0, nb_var c0)
{
    const nb_var in[] = {x, w_x, w_h, b, state(h0, x, w_h), state(c0, x, w_h)};
    return apply(in, false);
}

nb_var(nb_lstm_state)(nb_var x, nb_var w_x, nb_var w_h, nb_var b, nb_var h0, nb_var c0, nb_var *c)
{
    if (!c)
        return nb_lstm(x, w_x, w_h, b, h0, c0);
    const nb_var in[] = {x, w_x, w_h, b, state(h0, x, w_h), state(c0, x, w_h)};
    nb_var all = apply(in, true);
    if (!nb_ok(all)) {
        *c = all;
        return all;
    }
    const int64_t steps = nb_dim(all, 0) - 1;
    nb_var last = nb_slice(all, 0, steps, NB_END, 1);
    *c = nb_reshape(last, NB_SHAPE(nb_dim(all, 1), nb_dim(all, 2)));
    return nb_slice(all, 0, 0, steps, 1);
}
