/*
 * Derivatives of programs.
 *
 * Both modes are one walk over the expression graph of p, with nodes in the place of numbers.
 *
 *     reverse   a(o) = u;    a(k) = sum over the consumers i of k of  chain(a(i), slope of i by k)
 *     forward   t(x) = v;    t(i) = sum over the operands k of i of   chain(t(k), slope of i by k)
 *
 * The slopes are the table's, and as the graph shares equal terms by itself, those that several walks need
 * are there once. Walks touch only nodes between the inputs wanted and the outputs asked about.
 *
 *     gradient   one reverse walk
 *     jacobian   a reverse walk per output or a forward walk per input: both graphs are built where that
 *                is affordable, and the one with fewer operations per lane is kept
 *     hessian    a forward walk per input over the gradient's graph; the upper triangle, mirrored
 */
#include "program/code.h"

enum { TRIED = 64 }; /* walks up to which a mode is tried out */

/* A derivation under way: p's graph, copied, is being added to. */
typedef struct work {
    nb_program *q;
    size_t count;    /* nodes that take part in a walk: the first so many */
    uint32_t *with;  /* adjoint or tangent of each, or NBI_DAG_NONE */
    uint8_t *wanted; /* depends on an input wanted, by node */
    uint8_t *asked;  /* by input argument of p */
    size_t n_asked;
    size_t elements; /* inputs wanted */
} work;

static void *take(nb_program *q, size_t bytes) { return nbi_resize(&q->heap, NULL, 0, bytes); }

static void close_work(work *w)
{
    if (!w->q)
        return;
    nbi_resize(&w->q->heap, w->with, w->count * sizeof *w->with, 0);
    nbi_resize(&w->q->heap, w->wanted, w->count, 0);
    nbi_resize(&w->q->heap, w->asked, w->n_asked, 0);
    w->with = NULL, w->wanted = NULL, w->asked = NULL;
}

/* Begins walks over all that q's graph holds by now. */
static bool cover(work *w)
{
    nb_program *q = w->q;
    nbi_resize(&q->heap, w->with, w->count * sizeof *w->with, 0);
    nbi_resize(&q->heap, w->wanted, w->count, 0);
    w->count = q->dag.count;
    w->with = take(q, w->count * sizeof *w->with);
    w->wanted = take(q, w->count);
    if ((!w->with || !w->wanted) && w->count)
        return false;
    nbi_mark_dependent(q, &q->dag, w->asked, 1, false, w->wanted);
    return true;
}

static bool open_work(work *w, const nb_program *p, const bool *want, bool outputs)
{
    *w = (work){.q = nbi_program_copy(p, outputs)};
    if (!w->q || !(w->asked = take(w->q, p->n_in)))
        return false;
    w->n_asked = p->n_in;
    for (size_t k = 0; k < p->n_in; k++) {
        w->asked[k] = !want || want[k];
        w->elements += w->asked[k] ? p->in[k].count : 0;
    }
    return cover(w);
}

static void clear(work *w)
{
    if (w->count)
        memset(w->with, 0xff, w->count * sizeof *w->with);
}

static void give(work *w, uint32_t k, uint32_t d)
{
    w->with[k] =
        w->with[k] == NBI_DAG_NONE ? d : nbi_dag_op(&w->q->dag, NBI_ROW_add, w->with[k], d, 0);
}

/* chain(g, slope of node i by operand k); NBI_DAG_NONE where it is zero. */
static uint32_t product(work *w, uint32_t i, int k, uint32_t g)
{
    nbi_dag *d = &w->q->dag;
    const nbi_dag_node n = d->node[i];
    const uint32_t s = nbi_dag_slope(d, n.code, k, n.in, i);
    return nbi_dag_is(d, s, 0.0) ? NBI_DAG_NONE : nbi_dag_op(d, NBI_ROW_chain, g, s, 0);
}

/* Whether the slopes of a row pick: they are 0 at an operand that does not matter. */
static bool picks(uint32_t code)
{
    return code == NBI_ROW_where || code == NBI_ROW_min || code == NBI_ROW_max ||
           code == NBI_ROW_clamp || code == NBI_ROW_relu || code == NBI_ROW_chain;
}

/* What tangent t of operand k adds to that of node i. A branch not taken adds 0, even if its tangent is
 * infinite, as it does in reverse: where a slope picks, it is the slope that is asked whether it is 0. */
static uint32_t push(work *w, uint32_t i, int k, uint32_t t)
{
    nbi_dag *d = &w->q->dag;
    const nbi_dag_node n = d->node[i];
    if (!picks(n.code) || (n.code == NBI_ROW_chain && k == 0))
        return product(w, i, k, t);
    const uint32_t s = nbi_dag_slope(d, n.code, k, n.in, i);
    return nbi_dag_is(d, s, 0.0) ? NBI_DAG_NONE : nbi_dag_op(d, NBI_ROW_chain, s, t, 0);
}

static void reverse(work *w, uint32_t from)
{
    for (uint32_t i = from + 1; i-- > 0;) {
        const uint32_t g = w->with[i];
        const nbi_dag_node n = w->q->dag.node[i];
        if (g == NBI_DAG_NONE || !w->wanted[i])
            continue;
        for (int k = 0; k < nbi_dag_arity(n.code); k++)
            if (w->wanted[n.in[k]]) {
                const uint32_t d = product(w, i, k, g);
                if (d != NBI_DAG_NONE)
                    give(w, n.in[k], d);
            }
    }
}

static void forward(work *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        const nbi_dag_node n = w->q->dag.node[i];
        if (!w->wanted[i] || n.code == NBI_DAG_INPUT)
            continue;
        for (int k = 0; k < nbi_dag_arity(n.code); k++)
            if (w->with[n.in[k]] != NBI_DAG_NONE) {
                const uint32_t d = push(w, i, k, w->with[n.in[k]]);
                if (d != NBI_DAG_NONE)
                    give(w, i, d);
            }
    }
}

/* The adjoint or tangent that a walk left at node i. */
static uint32_t left_at(work *w, uint32_t i)
{
    const uint32_t d = i < w->count ? w->with[i] : NBI_DAG_NONE;
    return d == NBI_DAG_NONE ? nbi_dag_constant(&w->q->dag, 0) : d;
}

static uint32_t input(work *w, size_t place) { return nbi_dag_input(&w->q->dag, place); }

/* Places of the inputs wanted, one by one. */
static bool next_wanted(const work *w, size_t *argument, size_t *element, size_t *place)
{
    const nb_program *q = w->q;
    while (*argument < w->n_asked && (!w->asked[*argument] || *element >= q->in[*argument].count)) {
        (*argument)++;
        *element = 0;
    }
    if (*argument == w->n_asked)
        return false;
    *place = q->in[*argument].first + (*element)++;
    return true;
}

/* Whether all inputs wanted are shared, so that derivatives are summed over the lanes. */
static bool all_shared(const work *w)
{
    bool shared = true;
    for (size_t k = 0; k < w->n_asked; k++)
        shared = shared && (!w->asked[k] || w->q->in[k].shared);
    return shared;
}

static nb_program *finish(work *w, bool done, nb_reason *why)
{
    const size_t recorded = w->q ? w->q->dag.count : 0;
    close_work(w);
    if (done && w->q && nbi_program_prune(w->q)) {
        w->q->recorded = recorded;
        return w->q;
    }
    nb_program_free(w->q);
    if (why && !why->text[0])
        nbi_because(why, NB_ERR_MEMORY, "derivative of a program: out of memory");
    return NULL;
}

static bool valid(const nb_program *p, const bool *want, bool single, nb_reason *why)
{
    size_t asked = 0;
    if (why)
        why->text[0] = 0;
    if (!p) {
        nbi_because(why, NB_ERR_ARGUMENT, "derivative of a program: the program is NULL");
        return false;
    }
    for (size_t k = 0; k < p->n_in; k++)
        asked += !want || want[k];
    if (!asked) {
        nbi_because(why, NB_ERR_ARGUMENT, "derivative of a program: no input is wanted");
        return false;
    }
    if (single && p->out_elements != 1) {
        nbi_because(why, NB_ERR_SHAPE,
                    "derivative of a program: it must compute one element, and computes %zu",
                    p->out_elements);
        return false;
    }
    return true;
}

/* ---- one walk -------------------------------------------------------------------------------- */

static bool add_prefixed(nb_program *q, bool out, const char *prefix, const nbi_argument *a,
                         bool sum)
{
    const bool vector = a->vector;
    const size_t count = a->count, length = strlen(prefix) + strlen(a->name) + 2;
    char *name = take(q, length);
    if (!name)
        return false;
    snprintf(name, length, "%s %s", prefix, a->name);
    const bool done = out ? nbi_program_add_out(q, name, count, sum, vector)
                          : nbi_program_add_in(q, name, count, sum, vector);
    nbi_resize(&q->heap, name, length, 0);
    return done;
}

/* An output "d x" for each input wanted, with the adjoints that a reverse walk left. */
static bool add_gradients(work *w)
{
    nb_program *q = w->q;
    bool done = true;
    for (size_t k = 0; done && k < w->n_asked; k++) {
        const nbi_argument a = q->in[k];
        if (!w->asked[k])
            continue;
        done = add_prefixed(q, true, "d", &a, a.shared);
        for (size_t e = 0; done && e < a.count; e++)
            q->result[q->out[q->n_out - 1].first + e] = left_at(w, input(w, a.first + e));
    }
    return done;
}

nb_program *nb_program_gradient(const nb_program *p, const bool *want, nb_reason *why)
{
    work w;
    if (!valid(p, want, true, why))
        return NULL;
    bool done = open_work(&w, p, want, true);
    if (done) {
        clear(&w);
        give(&w, w.q->result[0], nbi_dag_constant(&w.q->dag, 1));
        reverse(&w, w.q->result[0]);
        done = add_gradients(&w);
    }
    return finish(&w, done, why);
}

nb_program *nb_program_vjp(const nb_program *p, const bool *want, nb_reason *why)
{
    work w;
    if (!valid(p, want, false, why))
        return NULL;
    bool done = open_work(&w, p, want, false);
    if (done)
        clear(&w);
    for (size_t k = 0; done && k < p->n_out; k++) {
        done = add_prefixed(w.q, false, "u", &p->out[k], p->out[k].sum);
        for (size_t e = 0; done && e < p->out[k].count; e++)
            give(&w, p->result[p->out[k].first + e], input(&w, w.q->in[w.q->n_in - 1].first + e));
    }
    if (done) {
        if (w.count)
            reverse(&w, (uint32_t)w.count - 1);
        done = add_gradients(&w);
    }
    return finish(&w, done, why);
}

nb_program *nb_program_jvp(const nb_program *p, const bool *want, nb_reason *why)
{
    work w;
    if (!valid(p, want, false, why))
        return NULL;
    bool done = open_work(&w, p, want, false);
    if (done)
        clear(&w);
    for (size_t k = 0; done && k < p->n_in; k++) {
        if (!w.asked[k])
            continue;
        done = add_prefixed(w.q, false, "v", &p->in[k], p->in[k].shared);
        for (size_t e = 0; done && e < p->in[k].count; e++) {
            const uint32_t x = input(&w, p->in[k].first + e);
            if (x < w.count)
                give(&w, x, input(&w, w.q->in[w.q->n_in - 1].first + e));
        }
    }
    if (done)
        forward(&w);
    for (size_t k = 0; done && k < p->n_out; k++) {
        done = add_prefixed(w.q, true, "t", &p->out[k], p->out[k].sum);
        for (size_t e = 0; done && e < p->out[k].count; e++)
            w.q->result[w.q->out[k].first + e] = left_at(&w, p->result[p->out[k].first + e]);
    }
    return finish(&w, done, why);
}

/* ---- many walks ------------------------------------------------------------------------------ */

static bool matrix_size(size_t rows, size_t columns, size_t *size)
{
    return !__builtin_mul_overflow(rows, columns, size) && *size < UINT32_MAX / 4;
}

static bool too_large(nb_reason *why, size_t rows, size_t columns)
{
    nbi_because(why, NB_ERR_OVERFLOW,
                "derivative of a program: a matrix of %zu by %zu is too large", rows, columns);
    return false;
}

static void by_rows(work *w, uint32_t *j)
{
    const nb_program *q = w->q;
    for (size_t o = 0; o < q->out_elements; o++) {
        size_t a = 0, e = 0, x;
        clear(w);
        give(w, q->result[o], nbi_dag_constant(&w->q->dag, 1));
        reverse(w, q->result[o]);
        while (next_wanted(w, &a, &e, &x))
            *j++ = left_at(w, input(w, x));
    }
}

static void by_columns(work *w, uint32_t *j)
{
    const nb_program *q = w->q;
    size_t a = 0, e = 0, x;
    for (size_t c = 0; next_wanted(w, &a, &e, &x); c++) {
        const uint32_t node = input(w, x);
        clear(w);
        if (node < w->count)
            give(w, node, nbi_dag_constant(&w->q->dag, 1));
        forward(w);
        for (size_t o = 0; o < q->out_elements; o++)
            j[o * w->elements + c] = left_at(w, q->result[o]);
    }
}

static nb_program *jacobian(const nb_program *p, const bool *want, bool rows, nb_reason *why)
{
    work w;
    size_t size = 0;
    bool done = open_work(&w, p, want, true);
    if (done && !matrix_size(p->out_elements, w.elements, &size))
        done = too_large(why, p->out_elements, w.elements);
    uint32_t *j = done && size ? take(w.q, size * sizeof *j) : NULL;
    done = done && (j || !size);
    if (done) {
        bool sum = true;
        for (size_t k = 0; k < p->n_out; k++)
            sum = sum && p->out[k].sum;
        rows ? by_rows(&w, j) : by_columns(&w, j);
        done = nbi_program_add_out(w.q, "J", size, sum, true);
    }
    if (done && size)
        memcpy(w.q->result + w.q->out[w.q->n_out - 1].first, j, size * sizeof *j);
    if (j)
        nbi_resize(&w.q->heap, j, size * sizeof *j, 0);
    return finish(&w, done, why);
}

/* Operations that every lane performs; 0 if there is no memory to tell. */
static size_t per_lane(const nb_program *p)
{
    const size_t flags = p->n_in + p->n_out, bytes = p->dag.count + flags;
    size_t n = 0;
    nbi_heap heap;
    nbi_heap_init(&heap, &p->heap.allocator, 0);
    uint8_t *varies = nbi_resize(&heap, NULL, 0, bytes);
    if (!varies)
        return 0;
    nbi_flags_declared(p, varies + p->dag.count);
    nbi_mark_dependent(p, &p->dag, varies + p->dag.count, 0, true, varies);
    for (size_t i = 0; i < p->dag.count; i++)
        n += varies[i];
    nbi_resize(&heap, varies, bytes, 0);
    return n;
}

nb_program *nb_program_jacobian(const nb_program *p, const bool *want, nb_reason *why)
{
    size_t columns = 0;
    if (!valid(p, want, false, why))
        return NULL;
    for (size_t k = 0; k < p->n_in; k++)
        columns += !want || want[k] ? p->in[k].count : 0;
    if (columns > TRIED || p->out_elements > TRIED)
        return jacobian(p, want, p->out_elements <= columns, why);
    nb_program *by_row = jacobian(p, want, true, why);
    nb_program *by_column = by_row ? jacobian(p, want, false, why) : NULL;
    const bool rows = by_column && per_lane(by_row) <= per_lane(by_column);
    nb_program_free(!by_column || !rows ? by_row : by_column);
    return rows ? by_row : by_column;
}

/* Rows of the matrix, or its diagonal, from forward walks over the gradient g. */
static void second(work *w, const uint32_t *g, bool diagonal, uint32_t *h)
{
    const size_t n = w->elements;
    size_t a = 0, e = 0, x;
    for (size_t c = 0; next_wanted(w, &a, &e, &x); c++) {
        const uint32_t node = input(w, x);
        clear(w);
        if (node < w->count)
            give(w, node, nbi_dag_constant(&w->q->dag, 1));
        forward(w);
        for (size_t r = diagonal ? c : 0; r <= c; r++)
            if (diagonal)
                h[c] = left_at(w, g[c]);
            else
                h[r * n + c] = h[c * n + r] = left_at(w, g[r]);
    }
}

static bool hessian(work *w, bool diagonal, nb_reason *why)
{
    nb_program *q = w->q;
    const size_t n = w->elements;
    size_t size = n, a = 0, e = 0, x;
    if (!diagonal && !matrix_size(n, n, &size))
        return too_large(why, n, n);
    const bool sum = all_shared(w);
    clear(w);
    give(w, q->result[0], nbi_dag_constant(&q->dag, 1));
    reverse(w, q->result[0]);
    if (!nbi_program_add_out(q, "g", n, sum, true) ||
        !nbi_program_add_out(q, diagonal ? "h" : "H", size, sum, true))
        return false;
    uint32_t *g = q->result + q->out[q->n_out - 2].first, *h = g + n;
    for (size_t c = 0; next_wanted(w, &a, &e, &x); c++)
        g[c] = left_at(w, input(w, x));
    if (!cover(w))
        return false;
    second(w, g, diagonal, h);
    return true;
}

nb_program *nb_program_hessian(const nb_program *p, const bool *want, bool diagonal, nb_reason *why)
{
    work w;
    if (!valid(p, want, true, why))
        return NULL;
    return finish(&w, open_work(&w, p, want, true) && hessian(&w, diagonal, why), why);
}
