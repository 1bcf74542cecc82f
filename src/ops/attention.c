/*
 * Scaled dot-product attention, without the matrix of scores.
 *
 *     q [… m d],  k [… n d],  v [… n e]        out [… m e]
 *
 *     S = scale q k^T        P = softmax of the rows of S, masked        out = P v
 *
 * Each entry of the leading axes (a head, say) stands alone. Forward, a block of ROWS queries passes
 * by blocks of COLUMNS keys; its part of S exists for one block at a time, and the rows' maxima, sums
 * and results are brought up to date (kernels/attention.h). Of each row only its final maximum and
 * sum are kept: memory grows with m d, not with m n. Backward, with G the adjoint of out,
 *
 *     dP = G v^T        D[i] = sum over j of P[i j] dP[i j] = <G[i], out[i]>
 *     dS = P (dP - D)                                             the softmax's rule, row by row
 *     dv = P^T G,   dq = scale dS k,   dk = scale dS^T q
 *
 * and P is made anew, block by block, from q, k and what was kept. Forward is cut over blocks of
 * rows, backward over entries.
 *
 * Causal: row i sees column j where j <= i + n - m, so the last query sees all keys. What is masked
 * has weight 0 and passes no gradient; a row that sees nothing is 0.
 *
 * As graph code the rule is that of the composition, and forms the scores: derivatives of second
 * order cost memory that grows with m n.
 */
#include "base/shape.h"
#include "kernels/attention.h"
#include "ops/array.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/net.h>
#include <nabla/ops.h>

#include <math.h>

enum { Q, K, V, MASK };
enum { ROWS = 64, COLUMNS = 128 };

typedef struct attention_state {
    bool causal, masked;
    double scale;
    int64_t entries, m, n, d, e;
    int64_t mask_step[NB_MAX_RANK]; /* of the mask along the result's axes; 0 where it stretches */
    double *top, *sum;              /* kept: per row */
} attention_state;

/* ---- shapes ---------------------------------------------------------------------------------- */

static nb_code mask_shape(const nb_call *c)
{
    attention_state *s = c->state;
    const nb_array *q = &c->in[Q], *mask = &c->in[MASK];
    nb_shape wide = nbi_shape_in(q), due;
    char a[NBI_SHAPE_TEXT], b[NBI_SHAPE_TEXT];
    wide.dims[q->rank - 1] = s->n;
    due = wide;
    if (mask->rank < 0 || !nbi_broadcast(&wide, mask->rank, mask->dims) ||
        !nb_shape_equal(wide, due))
        return nb_refuse(c, NB_ERR_SHAPE, "the mask does not broadcast to the scores",
                         "the mask is %s, the scores are %s",
                         nbi_shape_text(a, mask->rank, mask->dims),
                         nbi_shape_text(b, due.rank, due.dims));
    int64_t step = 1;
    for (int i = q->rank - 1, j = mask->rank - 1; i >= 0; i--, j--) {
        s->mask_step[i] = j < 0 || mask->dims[j] == 1 ? 0 : step;
        step *= j < 0 || mask->size == 0 ? 1 : mask->dims[j];
    }
    return NB_OK;
}

static nb_code attention_shape(const nb_call *c, nb_shape *out)
{
    attention_state *s = c->state;
    const nb_array *q = &c->in[Q], *k = &c->in[K], *v = &c->in[V];
    const int rank = q->rank;
    char a[NBI_SHAPE_TEXT], b[NBI_SHAPE_TEXT], e[NBI_SHAPE_TEXT];
    bool fits = rank >= 2 && k->rank == rank && v->rank == rank;
    for (int i = 0; fits && i < rank - 2; i++)
        fits = k->dims[i] == q->dims[i] && v->dims[i] == q->dims[i];
    fits = fits && q->dims[rank - 1] == k->dims[rank - 1] && k->dims[rank - 2] == v->dims[rank - 2];
    if (!fits)
        return nb_refuse(c, NB_ERR_SHAPE, "needs q [... m d], k [... n d] and v [... n e]",
                         "q is %s, k %s, v %s", nbi_shape_text(a, q->rank, q->dims),
                         nbi_shape_text(b, k->rank, k->dims), nbi_shape_text(e, v->rank, v->dims));
    s->m = q->dims[rank - 2], s->d = q->dims[rank - 1];
    s->n = v->dims[rank - 2], s->e = v->dims[rank - 1];
    if (!isfinite(s->scale))
        return nb_refuse(c, NB_ERR_ARGUMENT, "the scale is not finite", "it is %g", s->scale);
    if (s->scale == 0)
        s->scale = s->d ? 1 / sqrt((double)s->d) : 1;
    *out = nbi_shape_in(q);
    out->dims[rank - 1] = s->e;
    s->entries = nbi_product(rank - 2, q->dims);
    if (s->entries < 0 || nbi_product(rank - 1, q->dims) < 0)
        return nb_refuse(c, NB_ERR_OVERFLOW, "the number of rows overflows", "q is %s",
                         nbi_shape_text(a, rank, q->dims));
    return s->masked ? mask_shape(c) : NB_OK;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* What the pieces of a pass share. */
typedef struct pass {
    const nb_call *c;
    const attention_state *s;
    nb_dtype dtype;
    size_t element, each; /* bytes: of an element, of a worker's scratch */
    nbi_matmul_fn product;
    nbi_vmath_fn exp;
    char *scratch;
    const nb_array *g;
    char *d[3]; /* adjoints of q, k and v, or NULL */
} pass;

/* A worker's scratch, in parts. */
typedef struct room {
    void *scores, *adjoint; /* [ROWS COLUMNS] */
    double *mean;           /* [m] */
    void *product;
} room;

static size_t rounded(size_t bytes) { return (bytes + NBI_ALIGN - 1) & ~(size_t)(NBI_ALIGN - 1); }

static size_t product_scratch(const pass *p)
{
    const attention_state *s = p->s;
    const int64_t widths[] = {s->d, s->e};
    size_t most = 0;
    for (int i = 0; i < 2; i++) {
        const int64_t w = widths[i];
        const int64_t shape[][3] = {{ROWS, COLUMNS, w}, {ROWS, w, COLUMNS}, {COLUMNS, w, ROWS}};
        for (int j = 0; j < 3; j++) {
            const size_t bytes = nbi_matmul_scratch(p->c->tape->isa, p->dtype == NB_F64,
                                                    shape[j][0], shape[j][1], shape[j][2]);
            most = bytes > most ? bytes : most;
        }
    }
    return rounded(most);
}

static bool open_pass(pass *p, const nb_call *c, bool reverse)
{
    nb_tape *t = c->tape;
    *p = (pass){.c = c, .s = c->state, .dtype = c->out->dtype};
    p->element = nbi_element(p->dtype);
    p->product = t->matmul[p->dtype == NB_F64 ? 0 : 1];
    p->exp = nbi_vmath_choose(t->isa, p->dtype == NB_F64)->exp;
    p->each = 2 * rounded(ROWS * COLUMNS * p->element) + product_scratch(p);
    if (reverse)
        p->each += rounded((size_t)p->s->m * sizeof(double));
    p->scratch = nbi_scratch(t, p->each * (size_t)nbi_workers(t));
    return p->scratch != NULL;
}

static room room_of(const pass *p, int worker)
{
    char *from = p->scratch + (size_t)worker * p->each;
    const size_t block = rounded(ROWS * COLUMNS * p->element), product = product_scratch(p);
    return (room){from, from + block, (double *)(void *)(from + 2 * block + product),
                  product ? from + 2 * block : NULL};
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Row `row` of entry i in an array of matrices [rows width]. */
static char *row_at(const pass *p, const void *array, int64_t i, int64_t rows, int64_t row,
                    int64_t width)
{
    return (char *)array + (size_t)((i * rows + row) * width) * p->element;
}

/* C [m n] (+)= A B, dense; with A or B given transposed. */
static void multiply(const pass *p, const room *r, int64_t m, int64_t n, int64_t k, const void *a,
                     bool ta, const void *b, bool tb, void *c, bool add)
{
    nbi_matmul x = {.m = m, .n = n, .k = k, .lda = ta ? m : k, .ldb = tb ? k : n, .ldc = n};
    x.a = a, x.b = b, x.c = c;
    x.ta = ta, x.tb = tb;
    x.accumulate = add;
    x.scratch = r->product;
    p->product(&x);
}

/* The first element of the mask for entry i. */
static const char *mask_of(const pass *p, int64_t i)
{
    const nb_array *mask = &p->c->in[MASK];
    const int64_t *dims = p->c->out->dims;
    int64_t at = 0;
    for (int a = p->c->out->rank - 3; a >= 0; i /= dims[a], a--)
        at += i % dims[a] * p->s->mask_step[a];
    return (const char *)mask->data + (size_t)at * p->element;
}

/* The products of rows [row, row + rows) of entry i with columns [column, column + columns), and
 * what may be seen of them. */
static nbi_scores scores(const pass *p, const room *r, int64_t i, int64_t row, int64_t column)
{
    const attention_state *s = p->s;
    const int rank = p->c->out->rank;
    nbi_scores b = {.dtype = p->dtype, .exp = p->exp, .s = r->scores, .scale = s->scale};
    b.rows = least(ROWS, s->m - row), b.columns = least(COLUMNS, s->n - column);
    b.seen = s->causal ? row + s->n - s->m + 1 - column : INT64_MAX;
    if (s->masked) {
        b.mask_row = s->mask_step[rank - 2], b.mask_column = s->mask_step[rank - 1];
        b.mask = mask_of(p, i) + (size_t)(row * b.mask_row + column * b.mask_column) * p->element;
    }
    multiply(p, r, b.rows, b.columns, s->d, row_at(p, p->c->in[Q].data, i, s->m, row, s->d), false,
             row_at(p, p->c->in[K].data, i, s->n, column, s->d), true, b.s, false);
    return b;
}

/* Whether the rows up to `last` see nothing from this column on. */
static bool hidden(const attention_state *s, int64_t last, int64_t column)
{
    return s->causal && column > last + s->n - s->m;
}

/* ---- forward --------------------------------------------------------------------------------- */

static void attend(const pass *p, const room *r, int64_t i, int64_t row)
{
    const attention_state *s = p->s;
    const int64_t rows = least(ROWS, s->m - row);
    double *top = s->top + i * s->m + row, *sum = s->sum + i * s->m + row, factor[ROWS];
    char *out = row_at(p, p->c->out->data, i, s->m, row, s->e);
    memset(out, 0, (size_t)(rows * s->e) * p->element);
    for (int64_t j = 0; j < rows; j++)
        top[j] = -(double)INFINITY, sum[j] = 0;
    for (int64_t column = 0; column < s->n; column += COLUMNS) {
        if (hidden(s, row + rows - 1, column))
            break;
        const nbi_scores b = scores(p, r, i, row, column);
        nbi_scores_soften(&b, top, sum, factor);
        nbi_rows_scale(p->dtype, rows, s->e, out, factor);
        multiply(p, r, rows, s->e, b.columns, b.s, false,
                 row_at(p, p->c->in[V].data, i, s->n, column, s->e), false, out, true);
    }
    for (int64_t j = 0; j < rows; j++)
        factor[j] = sum[j] != 0 ? 1 / sum[j] : 0;
    nbi_rows_scale(p->dtype, rows, s->e, out, factor);
}

static void forward_piece(void *context, int64_t from, int64_t to, int worker)
{
    const pass *p = context;
    const room r = room_of(p, worker);
    const int64_t blocks = (p->s->m + ROWS - 1) / ROWS;
    for (int64_t i = from; i < to; i++)
        attend(p, &r, i / blocks, i % blocks * ROWS);
}

static nb_code attention_forward(const nb_call *c)
{
    attention_state *s = c->state;
    pass p;
    const int64_t rows = s->entries * s->m;
    size_t bytes;
    if (c->out->size == 0) /* keys without elements may be of any number */
        return NB_OK;
    if (__builtin_mul_overflow((size_t)rows, 2 * sizeof *s->top, &bytes))
        return nb_refuse(c, NB_ERR_OVERFLOW, "the number of rows overflows", NULL);
    s->top = nb_keep(c, bytes);
    if (!s->top || !open_pass(&p, c, false))
        return NB_ERR_MEMORY;
    s->sum = s->top + rows;
    nbi_share(c->tape, s->entries * ((s->m + ROWS - 1) / ROWS), 1, forward_piece, &p);
    return NB_OK;
}

/* ---- backward -------------------------------------------------------------------------------- */

static void reverse_block(const pass *p, const room *r, int64_t i, int64_t row, int64_t column)
{
    const attention_state *s = p->s;
    const nbi_scores b = scores(p, r, i, row, column);
    const char *g = row_at(p, p->g->data, i, s->m, row, s->e);
    nbi_scores_weigh(&b, s->top + i * s->m + row, s->sum + i * s->m + row);
    if (p->d[V])
        multiply(p, r, b.columns, s->e, b.rows, b.s, true, g, false,
                 row_at(p, p->d[V], i, s->n, column, s->e), true);
    if (!p->d[Q] && !p->d[K])
        return;
    multiply(p, r, b.rows, b.columns, s->e, g, false,
             row_at(p, p->c->in[V].data, i, s->n, column, s->e), true, r->adjoint, false);
    nbi_scores_adjoint(&b, b.s, r->adjoint, r->mean + row);
    if (p->d[Q])
        multiply(p, r, b.rows, s->d, b.columns, r->adjoint, false,
                 row_at(p, p->c->in[K].data, i, s->n, column, s->d), false,
                 row_at(p, p->d[Q], i, s->m, row, s->d), true);
    if (p->d[K])
        multiply(p, r, b.columns, s->d, b.rows, r->adjoint, true,
                 row_at(p, p->c->in[Q].data, i, s->m, row, s->d), false,
                 row_at(p, p->d[K], i, s->n, column, s->d), true);
}

static void reverse_piece(void *context, int64_t from, int64_t to, int worker)
{
    const pass *p = context;
    const attention_state *s = p->s;
    const room r = room_of(p, worker);
    for (int64_t i = from; i < to; i++) {
        nbi_rows_dot(p->dtype, s->m, s->e, row_at(p, p->g->data, i, s->m, 0, s->e),
                     row_at(p, p->c->out->data, i, s->m, 0, s->e), r.mean);
        for (int64_t column = 0; column < s->n; column += COLUMNS)
            for (int64_t row = 0; row < s->m; row += ROWS)
                if (!hidden(s, row + least(ROWS, s->m - row) - 1, column))
                    reverse_block(p, &r, i, row, column);
    }
}

static nb_code attention_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                        const bool *add)
{
    const attention_state *s = c->state;
    pass p;
    for (size_t k = 0; k < c->n_in; k++)
        if (gin[k])
            nbi_clear(gin[k], add[k]); /* every block adds */
    if (g->size == 0)
        return NB_OK;
    if (!open_pass(&p, c, true))
        return NB_ERR_MEMORY;
    p.g = g;
    for (int k = Q; k <= V; k++)
        p.d[k] = gin[k] ? gin[k]->data : NULL;
    nbi_share(c->tape, s->entries, 1, reverse_piece, &p);
    return NB_OK;
}

/* ---- the rule as graph code ------------------------------------------------------------------ */

/* What may be seen, as ones and zeros (or the caller's mask itself); NB_NONE if all. */
static nb_var visible(const nb_rule *r)
{
    const attention_state *s = r->state;
    if (!s->causal)
        return s->masked ? r->in[MASK] : NB_NONE;
    nb_var past = nb_lower(nb_ones(r->tape, NB_SHAPE(s->m, s->n)), s->n - s->m);
    return s->masked ? nb_where(past, r->in[MASK], nb_num(0)) : past;
}

static nb_code attention_reverse(const nb_rule *r)
{
    const attention_state *s = r->state;
    nb_var q = r->in[Q], k = r->in[K], v = r->in[V];
    if (nb_size(r->out) == 0 || s->n == 0)
        return NB_OK;
    nb_var x = nb_mul(nb_matmul_t(q, false, k, true), nb_num(s->scale)), see = visible(r);
    nb_var p = see.tape ? nb_masked_softmax(x, see, -1) : nb_softmax(x, -1);
    if (r->want[V])
        r->d[V] = nb_matmul_t(p, true, r->g, false);
    if (!r->want[Q] && !r->want[K])
        return NB_OK;
    nb_var dp = nb_matmul_t(r->g, false, v, true);
    nb_var mean = nb_sum_over(nb_chain(p, dp), NB_AXES(-1), true);
    nb_var ds = nb_mul(nb_chain(p, nb_sub(dp, mean)), nb_num(s->scale));
    if (r->want[Q])
        r->d[Q] = nb_matmul(ds, k);
    if (r->want[K])
        r->d[K] = nb_matmul_t(ds, true, q, false);
    return NB_OK;
}

/* ---- the record ------------------------------------------------------------------------------ */

static nb_var attention_sample(nb_sampler *s, int k)
{
    static const double seen[] = {1, 0, 1, 1, 0, 0,
                                  0, 0, 1, 1, 0, 1}; /* [3 4]: a row sees nothing */
    static const struct {
        nb_shape q; /* its last axis is d */
        int64_t n, e;
        bool causal;
        nb_shape mask;
        double scale;
    } sample[] = {
        {{2, {3, 2}}, 4, 3, false, {-1, {0}}, 0},
        {{2, {1, 1}}, 1, 1, false, {-1, {0}}, 0.5},
        {{3, {2, 3, 2}}, 3, 2, true, {-1, {0}}, 0},
        {{2, {2, 3}}, 4, 2, true, {-1, {0}}, -0.7},
        {{2, {4, 2}}, 2, 2, true, {-1, {0}}, 0},
        {{2, {3, 2}}, 4, 2, false, {2, {3, 4}}, 0},
        {{3, {3, 2, 2}}, 4, 1, false, {3, {3, 1, 4}}, 0},
        {{4, {1, 2, 2, 1}}, 4, 2, true, {1, {4}}, 2},
        {{2, {0, 2}}, 3, 2, false, {-1, {0}}, 0},
        {{2, {2, 2}}, 0, 2, false, {-1, {0}}, 0},
        {{2, {2, 0}}, 3, 2, true, {-1, {0}}, 0},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_shape q = sample[k].q, key = q, value = q;
    key.dims[q.rank - 2] = value.dims[q.rank - 2] = sample[k].n;
    value.dims[q.rank - 1] = sample[k].e;
    nb_attention_options o = {.causal = sample[k].causal, .scale = sample[k].scale};
    nb_var in[] = {nb_sample(s, q, -1, 1), nb_sample(s, key, -1, 1), nb_sample(s, value, -2, 2)};
    if (sample[k].mask.rank >= 0)
        o.mask = nb_constant_tensor(nb_sample_tape(s), sample[k].mask, seen);
    return nb_attention(in[0], in[1], in[2], &o);
}

const nb_op nbi_op_attention = {
    .name = "attention",
    .doc = "sums of values, weighted by the softmax of queries times keys",
    .shape = attention_shape,
    .forward = attention_forward,
    .reverse = attention_reverse,
    .reverse_arrays = attention_reverse_arrays,
    .overwrites = true,
    .sample = attention_sample,
};

nb_var(nb_attention)(nb_var q, nb_var k, nb_var v, const nb_attention_options *o)
{
    nb_var in[] = {q, k, v, o ? o->mask : nb_num(0)};
    const bool masked = in[MASK].tape != NULL;
    attention_state s = {.causal = o && o->causal, .masked = masked, .scale = o ? o->scale : 0};
    return nb_apply(&nbi_op_attention, masked ? 4 : 3, in, &s, sizeof s);
}
