/*
 * Random graphs, frozen: values, gradients, Jacobians and Hessians of programs are held to what the tape
 * computes for each lane by itself.
 *
 * How far the two may be apart is measured, not guessed: the graph is recorded again with each result
 * off by a random DELTA of itself, and what that does to value and gradient, scaled down to the rounding of
 * the type, is what rounding may do. Where a step function is near a step this allows anything, as it
 * must; graphs that leave the middle of the number range are drawn again.
 */
#include "program.h"

#include "ops/elementwise.h"
#include "program/program.h"

enum { GRAPHS = 1000, OPS = 60, INPUTS = 20, LANES = 150, TRIALS = 3, SLACK = 64 };
#define DELTA 0x1p-30

typedef struct graph {
    int n_in, n_shared, n; /* the first n_shared inputs are shared; nodes in all, inputs first */
    int row[INPUTS + OPS], in[INPUTS + OPS][3];
    double constant[INPUTS + OPS];
} graph;

enum { CONSTANT = -1 };

/* ---- drawing --------------------------------------------------------------------------------- */

static double uniform(nb_rng *r, double low, double high)
{
    return low + (high - low) * nb_rng_uniform(r);
}

static int below(nb_rng *r, int n) { return (int)(nb_rng_uniform(r) * n); }

/* A node before the n-th: half of the time a recent one. */
static int earlier(nb_rng *r, int n)
{
    return below(r, 2) && n > 6 ? n - 1 - below(r, 6) : below(r, n);
}

/* Node i of a graph, recorded; off by a share `delta` of itself. */
static nb_var record_node(const graph *g, int i, nb_var *v, double delta, nb_rng *r)
{
    nb_var x[3];
    if (g->row[i] == CONSTANT)
        return nb_constant(v[0].tape, g->constant[i]);
    for (int k = 0; k < nbi_rows[g->row[i]].arity; k++) {
        const double *range = &nbi_rows[g->row[i]].range[2 * k];
        x[k] = range[0] == range[1] ? nb_constant(v[0].tape, range[0]) : v[g->in[i][k]];
    }
    const nb_var y = nbi_row_call((enum nbi_row)g->row[i], x);
    return delta != 0 ? nb_mul(y, 1 + delta * uniform(r, -1, 1)) : y;
}

/* Whether node i stays in the middle of the range, by value and by slopes. Those of celu divide by its
 * parameter, whatever they come to. */
static bool tame(const graph *g, int i, const nb_var *v)
{
    const int row = g->row[i];
    if (row == CONSTANT)
        return true;
    const double y = fabs(nb_value(v[i]));
    if (!(y < 1e3) || (y != 0 && y < 1e-30))
        return false;
    for (int k = 0; k < nbi_rows[row].arity; k++)
        if (!(fabs(nb_partial(v[i], (size_t)k)) < 1e3))
            return false;
    return row != NBI_ROW_celu || fabs(nb_value(v[g->in[i][1]])) > 1e-3;
}

static void draw(graph *g, nb_rng *r, nb_tape *t)
{
    nb_var v[INPUTS + OPS];
    const int wanted = 5 + below(r, OPS - 5 + 1);
    g->n_in = 1 + below(r, INPUTS);
    g->n_shared = below(r, g->n_in + 1);
    g->n = g->n_in;
    nb_reset(t);
    for (int k = 0; k < g->n_in; k++)
        v[k] = nb_input(t, NULL, uniform(r, -2, 2));
    while (g->n < g->n_in + wanted) {
        const int i = g->n;
        g->row[i] = below(r, 12) ? below(r, NBI_ROWS) : CONSTANT;
        g->constant[i] = (double[]){0, 1, -1, -0.0, 2, 0.5, 3, -0.3}[below(r, 8)];
        for (int k = 0; k < 3; k++)
            g->in[i][k] = earlier(r, i);
        v[i] = record_node(g, i, v, 0, r);
        g->n += tame(g, i, v);
    }
}

static void record(const graph *g, nb_tape *t, const double *x, nb_var *v, double delta, nb_rng *r)
{
    nb_reset(t);
    for (int k = 0; k < g->n_in; k++)
        v[k] = nb_input(t, NULL, x[k]);
    for (int i = g->n_in; i < g->n; i++)
        v[i] = record_node(g, i, v, delta, r);
}

/* ---- what the tape says ---------------------------------------------------------------------- */

enum kind { GRADIENT, JACOBIAN, HESSIAN, KINDS };
/* outputs of a Jacobian's program; inputs of a Hessian's at most; elements of all that is derived */
enum { OUT = 3, SMALL = 5, MOST = OUT + OUT * INPUTS };

/* The elements of the derived program's outputs, in their order, for one lane; whether it is an ordinary
 * one. */
static bool by_tape(const graph *g, enum kind kind, nb_tape *t, const double *x, double delta,
                    nb_rng *r, double *to)
{
    nb_var v[INPUTS + OPS];
    bool ordinary = true;
    record(g, t, x, v, delta, r);
    for (int i = g->n_in; delta == 0 && i < g->n; i++)
        ordinary = ordinary && tame(g, i, v);
    const int outputs = kind == JACOBIAN ? OUT : 1;
    for (int o = 0; o < outputs; o++) {
        to[o] = nb_value(v[g->n - 1 - o]);
        ck_assert_msg(nb_backward(v[g->n - 1 - o]) == NB_OK, "%s", nb_message(t));
        for (int k = 0; k < g->n_in; k++)
            to[outputs + o * g->n_in + k] = nb_grad(v[k]);
    }
    if (kind == HESSIAN)
        ck_assert_msg(nb_hessian(v[g->n - 1], (size_t)g->n_in, v, to + 1 + g->n_in) == NB_OK, "%s",
                      nb_message(t));
    return ordinary;
}

/* What may be expected of an element: the value, how far DELTA moves it, and whether to compare it. */
typedef struct expectation {
    double value, size, moved;
    bool skip;
} expectation;

static void expect(const graph *g, enum kind kind, bool is_double, nb_tape *t, const double *x,
                   nb_rng *r, expectation *to)
{
    double value[MOST] = {0}, near[MOST] = {0};
    const bool any = by_tape(g, kind, t, x, 0, r, value) || (kind == GRADIENT && is_double);
    for (int k = 0; k < MOST; k++)
        to[k] = (expectation){value[k], fabs(value[k]), 0, !any || !(fabs(value[k]) < 1e15)};
    for (int n = 0; n < TRIALS; n++) {
        by_tape(g, kind, t, x, DELTA, r, near);
        for (int k = 0; k < MOST; k++) {
            to[k].skip = to[k].skip || !isfinite(near[k]);
            to[k].moved = fmax(to[k].moved, fabs(near[k] - value[k]));
        }
    }
}

/* Whether a result is what may be expected; NaN never is. */
static bool fits(double have, const expectation *e, bool is_double)
{
    const double eps = is_double ? 0x1p-52 : 0x1p-23;
    return e->skip || fabs(have - e->value) <= SLACK * eps * (e->moved / DELTA + e->size + 1);
}

/* ---- what the program says ------------------------------------------------------------------- */

static nb_program *derive(const nb_program *p, enum kind kind)
{
    return kind == GRADIENT   ? nb_program_gradient(p, NULL, NULL)
           : kind == JACOBIAN ? nb_program_jacobian(p, NULL, NULL)
                              : nb_program_hessian(p, NULL, false, NULL);
}

/* The graph's last nodes by shared inputs "s" and others "x", derived. */
static nb_program *freeze(const graph *g, enum kind kind, nb_tape *t, bool strict, bool sum)
{
    nb_var v[INPUTS + OPS], out[OUT];
    double x[INPUTS];
    for (int k = 0; k < INPUTS; k++)
        x[k] = 0.1 * k;
    record(g, t, x, v, 0, NULL);
    for (int o = 0; o < OUT; o++)
        out[o] = v[g->n - 1 - o];
    const size_t shared = (size_t)g->n_shared, n = kind == JACOBIAN ? OUT : 1;
    nb_program *p = nb_freeze(&(nb_recipe){
        .n_in = 2,
        .in = (nb_argument[]){{.name = "s", .count = shared, .var = v, .shared = true},
                              {.name = "x", .count = (size_t)g->n_in - shared, .var = v + shared}},
        .n_out = 1,
        .out = &(nb_argument){.name = "y", .count = n, .var = out, .sum = sum},
        .strict = strict});
    ck_assert_msg(p != NULL, "%s", nb_message(t));
    nb_program *q = derive(p, kind);
    ck_assert(q != NULL);
    nb_program_free(p);
    return q;
}

/* A batch: the points, as doubles that are floats, and arrays of the program's type. */
typedef struct batch {
    int lanes;
    bool is_double;
    double x[LANES * INPUTS]; /* [lanes, n_in] */
    double shared[INPUTS], own[LANES * INPUTS];
    double out[3][LANES * MOST];
} batch;

static double get(const double *a, bool is_double, size_t k)
{
    return is_double ? a[k] : (double)((const float *)(const void *)a)[k];
}

static void put(double *a, bool is_double, size_t k, double v)
{
    if (is_double)
        a[k] = v;
    else
        ((float *)(void *)a)[k] = (float)v;
}

static void fill(batch *b, const graph *g, nb_rng *r)
{
    const int own = g->n_in - g->n_shared;
    for (int l = 0; l < b->lanes; l++)
        for (int k = 0; k < g->n_in; k++) {
            const double v = below(r, 20) ? uniform(r, -2, 2) : below(r, 3) - 1;
            double *x = &b->x[l * g->n_in + k];
            *x = l && k < g->n_shared ? b->x[k] : (double)(float)v;
            if (k < g->n_shared)
                put(b->shared, b->is_double, (size_t)k, *x);
            else
                put(b->own, b->is_double, (size_t)(l * own + k - g->n_shared), *x);
        }
}

/* ---- both ------------------------------------------------------------------------------------ */

/* Holds the elements of one lane to what is expected of them, or adds that to what is expected of sums.
 * How many were wrong. */
static int compare_lane(const batch *b, const nb_program *q, int lane, const expectation *e,
                        expectation *total)
{
    int wrong = 0;
    size_t place = 0;
    for (size_t o = 0; o < nb_program_inspect(q).n_out; o++) {
        const nb_argument_info a = nb_program_out(q, o);
        for (size_t k = 0; k < a.count; k++, place++, e++) {
            total[place].value += e->value;
            total[place].size += e->size + 1;
            total[place].moved += e->moved;
            total[place].skip = total[place].skip || e->skip;
            const size_t at = (size_t)lane * a.count + k;
            wrong += !a.sum && !fits(get(b->out[o], b->is_double, at), e, b->is_double);
        }
    }
    return wrong;
}

static int compare_sums(const batch *b, const nb_program *q, const expectation *total)
{
    int wrong = 0;
    for (size_t o = 0; o < nb_program_inspect(q).n_out; o++) {
        const nb_argument_info a = nb_program_out(q, o);
        for (size_t k = 0; k < a.count; k++, total++)
            wrong += a.sum && !fits(get(b->out[o], b->is_double, k), total, b->is_double);
    }
    return wrong;
}

/* A graph, derived in some way and run over some lanes. */
static void check_graph(uint64_t seed, nb_tape *t, batch *b)
{
    static const int lanes[] = {1, 2, 7, 8, 9, 64, 65, LANES};
    graph g;
    nb_rng rng = nb_rng_seed(seed), *r = &rng;
    expectation e[MOST], total[MOST] = {{0}};
    nb_reason why = {""};
    int wrong = 0;
    draw(&g, r, t);
    enum kind kind = (enum kind)below(r, KINDS);
    if (kind == HESSIAN && g.n_in > SMALL)
        kind = GRADIENT;
    const bool strict = below(r, 2), sum = below(r, 3) == 0;
    b->lanes = lanes[below(r, kind == HESSIAN ? 5 : 8)];
    b->is_double = below(r, 3) > 0;
    fill(b, &g, r);
    nb_program *q = freeze(&g, kind, t, strict, sum);
    const nb_code code = nb_program_run(
        q,
        &(nb_replay){
            .lanes = b->lanes,
            .dtype = b->is_double ? NB_F64 : NB_F32,
            .in = (nb_lanes[]){{.data = b->shared}, {.data = b->own}},
            .out = (nb_lanes[]){{.data = b->out[0]}, {.data = b->out[1]}, {.data = b->out[2]}}},
        &why);
    ck_assert_msg(code == NB_OK, "graph %d: %s", (int)seed, why.text);
    for (int l = 0; l < b->lanes; l++) {
        expect(&g, kind, b->is_double, t, b->x + l * g.n_in, r, e);
        wrong += compare_lane(b, q, l, e, total);
    }
    wrong += compare_sums(b, q, total);
    ck_assert_msg(wrong == 0, "graph %d, kind %d, %d lanes, %s, %s: %d are wrong", (int)seed,
                  (int)kind, b->lanes, b->is_double ? "double" : "float",
                  strict ? "strict" : "not strict", wrong);
    nb_program_free(q);
}

START_TEST(random_graphs_agree_with_the_tape)
{
    batch *b = malloc(sizeof *b);
    nb_tape *t = nb_tape_new(NULL);
    ck_assert(b && t);
    for (int k = 0; k < GRAPHS; k++)
        check_graph((uint64_t)k + 1, t, b);
    nb_tape_free(t);
    free(b);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("fuzz_programs");
    tcase_set_timeout(c, 100);
    tcase_add_test(c, random_graphs_agree_with_the_tape);
    return run_case("fuzz_programs", c);
}
