/*
 * What derivatives of many kinds cost, beside the gradient and beside each other.
 *
 * Case `hvp`: a product of the Hessian with a vector, its gradient graph recorded, swept and
 * forgotten within the call, over the recording and sweeping of the function for its gradient; on a
 * perceptron of three layers and on a graph of 10^4 scalar nodes. Case `jacobian`: the rows of a
 * Jacobian in blocks of seeds against one backward sweep for each, on the same two. What a forward
 * sweep costs beside a backward one stands there too. The other cases have files of their own.
 */
#include "derivatives.h"

enum { INPUTS = 100, ROWS = 64, MOST = 64 };

/* ---- the functions --------------------------------------------------------------------------- */

enum { BATCH = 16, WIDTH = 32, CLASSES = 8, LAYERS = 3, WEIGHTS = WIDTH * (2 * WIDTH + CLASSES) };

/* Records a function at x: its inputs, which hold x one after the other, and its outputs. */
typedef struct problem {
    const char *name;
    size_t n_in, elements, n_out, rows; /* rows: elements of the outputs */
    void (*record)(nb_tape *t, const double *x, nb_var *in, nb_var *out);
} problem;

/* About 10^4 nodes; the outputs are met on the way, the last one at the end. */
static void scalar_graph(nb_tape *t, const double *x, nb_var *in, nb_var *out, size_t n_out)
{
    const size_t rounds = 1250;
    for (size_t i = 0; i < INPUTS; i++)
        in[i] = nb_input(t, NULL, x[i]);
    nb_var s = in[0];
    for (size_t i = 0, k = 0; i < rounds; i++) {
        s = nb_add(nb_mul(s, in[i % INPUTS]), nb_mul(in[7 * i % INPUTS], in[3 * i % INPUTS]));
        s = nb_add(nb_div(s, nb_add(1, nb_mul(s, s))), nb_mul(in[i % INPUTS], 0.125));
        if ((i + 1) * n_out / rounds > k)
            out[k++] = s;
    }
}

static void scalar(nb_tape *t, const double *x, nb_var *in, nb_var *out)
{
    scalar_graph(t, x, in, out, 1);
}

static void scalar_rows(nb_tape *t, const double *x, nb_var *in, nb_var *out)
{
    scalar_graph(t, x, in, out, ROWS);
}

/* The inputs are the matrices of weights. */
static void layers(nb_tape *t, const double *x, nb_var *in, nb_var *out)
{
    nb_rng r = nb_rng_seed(1);
    nb_var h = nb_normal(t, NB_SHAPE(BATCH, WIDTH), 0, 1, &r);
    for (int k = 0; k < LAYERS; k++) {
        const int64_t columns = k + 1 < LAYERS ? WIDTH : CLASSES;
        in[k] = nb_tensor(t, NULL, NB_SHAPE(WIDTH, columns), x);
        x += WIDTH * columns;
        h = nb_matmul(k ? nb_tanh(h) : h, in[k]);
    }
    *out = h;
}

static void loss(nb_tape *t, const double *x, nb_var *in, nb_var *out)
{
    layers(t, x, in, out);
    *out = nb_mean(nb_logsumexp_over(*out, NB_AXES(-1), false));
}

/* The logits of the first rows of the batch only. */
static void layers_rows(nb_tape *t, const double *x, nb_var *in, nb_var *out)
{
    layers(t, x, in, out);
    *out = nb_slice(*out, 0, 0, ROWS / CLASSES, 1);
}

static const problem functions[] = {{"mlp", LAYERS, WEIGHTS, 1, 1, loss},
                                    {"scalar", INPUTS, INPUTS, 1, 1, scalar}};
static const problem maps[] = {{"mlp", LAYERS, WEIGHTS, 1, ROWS, layers_rows},
                               {"scalar", INPUTS, INPUTS, ROWS, ROWS, scalar_rows}};

static void start(size_t n, double *x)
{
    for (size_t i = 0; i < n; i++)
        x[i] = 0.3 * sin(1.7 * (double)i) + 0.2;
}

static void line(const char *name, const problem *p, const char *figure, double value,
                 const char *unit, const char *bar)
{
    char text[64];
    snprintf(text, sizeof text, "%s_%s", p->name, figure);
    bench_line("derivatives", name, text, value, unit, bar);
}

/* ---- hvp ------------------------------------------------------------------------------------- */

static void gradient(nb_tape *t, const problem *p, const double *x, double *g)
{
    nb_var in[INPUTS], f;
    nb_reset(t);
    p->record(t, x, in, &f);
    nb_backward(f);
    for (size_t k = 0; g && k < p->n_in; g += nb_size(in[k++]))
        nb_read_grad(in[k], g, nb_size(in[k]));
}

static void product(nb_tape *t, const problem *p, const double *x, const double *v, double *hv)
{
    nb_var in[INPUTS], f;
    const double *from[INPUTS];
    double *to[INPUTS];
    nb_reset(t);
    p->record(t, x, in, &f);
    for (size_t k = 0, at = 0; k < p->n_in; at += (size_t)nb_size(in[k++]))
        from[k] = v + at, to[k] = hv + at;
    nb_hvp(f, p->n_in, in, from, to);
}

/* Against central differences of the gradient along v. */
static bool product_right(nb_tape *t, const problem *p, const double *x, const double *v)
{
    const size_t n = p->elements;
    const double h = 1e-5;
    double *hv = bench_numbers(4 * n), *moved = hv + n, *up = moved + n, *down = up + n;
    product(t, p, x, v, hv);
    for (size_t i = 0; i < n; i++)
        moved[i] = x[i] + h * v[i];
    gradient(t, p, moved, up);
    for (size_t i = 0; i < n; i++)
        moved[i] = x[i] - h * v[i];
    gradient(t, p, moved, down);
    for (size_t i = 0; i < n; i++)
        up[i] = (up[i] - down[i]) / (2 * h);
    const bool right = nb_status(t) == NB_OK && bench_agree("hvp", n, hv, up, 1e-6);
    free(hv);
    return right;
}

static bool time_product(const problem *p, int repeats)
{
    double *x = bench_numbers(3 * p->elements), *v = x + p->elements, *hv = v + p->elements;
    double times[2][MOST];
    nb_tape *t = nb_tape_new(NULL);
    start(p->elements, x);
    for (size_t i = 0; i < p->elements; i++)
        v[i] = cos(0.9 * (double)i);
    const bool right = t && product_right(t, p, x, v);
    for (int r = 0; right && r < repeats; r++) {
        const double a = bench_now();
        for (int k = 0; k < 8; k++)
            gradient(t, p, x, NULL);
        const double b = bench_now();
        for (int k = 0; k < 8; k++)
            product(t, p, x, v, hv);
        const double c = bench_now();
        times[0][r] = b - a, times[1][r] = c - b;
    }
    if (right) {
        const double g = bench_median(times[0], (size_t)repeats);
        line("hvp", p, "over_gradient", bench_median(times[1], (size_t)repeats) / g, "x", "-");
        line("hvp", p, "gradient", 1e6 * g / 8, "us", "-");
    }
    nb_tape_free(t);
    free(x);
    return right;
}

bool bench_hvp(bool quick)
{
    bool right = true;
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++)
        right = time_product(&functions[k], quick ? 9 : 31) && right;
    return right;
}

/* ---- jacobian -------------------------------------------------------------------------------- */

/* Row by row, by the backward sweep alone. */
static void one_by_one(const problem *p, const nb_var *in, const nb_var *out, double *J)
{
    double unit[ROWS] = {0};
    for (size_t r = 0; r < p->rows; r++) {
        const double *seed = p->n_out == 1 ? unit : NULL;
        unit[r] = 1;
        nb_backward_with(&(nb_sweep){.n_out = 1,
                                     .out = p->n_out == 1 ? out : out + r,
                                     .seed = &seed,
                                     .n_want = p->n_in,
                                     .want = in});
        unit[r] = 0;
        for (size_t k = 0; k < p->n_in; J += nb_size(in[k++]))
            nb_read_grad(in[k], J, nb_size(in[k]));
    }
}

static bool time_rows(const problem *p, int repeats)
{
    double *x = bench_numbers(p->elements), times[4][MOST];
    double *J = bench_numbers(2 * p->rows * p->elements), *K = J + p->rows * p->elements;
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[INPUTS], out[ROWS];
    start(p->elements, x);
    p->record(t, x, in, out);
    for (int r = 0; r < repeats; r++) {
        const double a = bench_now();
        nb_jacobian(p->n_out, out, p->n_in, in, NB_JACOBIAN_REVERSE, J);
        const double b = bench_now();
        one_by_one(p, in, out, K);
        const double c = bench_now();
        nb_forward(p->n_in, in, NULL);
        const double d = bench_now();
        nb_backward_with(
            &(nb_sweep){.n_out = 1, .out = &out[p->n_out - 1], .seed = (const double *const[]){J}});
        const double e = bench_now();
        times[0][r] = b - a, times[1][r] = c - b, times[2][r] = d - c, times[3][r] = e - d;
    }
    const bool right =
        nb_status(t) == NB_OK && bench_agree("jacobian", p->rows * p->elements, J, K, 1e-13);
    if (right) {
        const double block = bench_median(times[0], (size_t)repeats);
        line("jacobian", p, "one_by_one_over_blocked",
             bench_median(times[1], (size_t)repeats) / block, "x", "-");
        line("jacobian", p, "blocked_per_row", 1e6 * block / (double)p->rows, "us", "-");
        line("jacobian", p, "forward_over_backward",
             bench_median(times[2], (size_t)repeats) / bench_median(times[3], (size_t)repeats), "x",
             "-");
    }
    nb_tape_free(t);
    free(x);
    free(J);
    return right;
}

bool bench_jacobian(bool quick)
{
    bool right = true;
    for (size_t k = 0; k < sizeof maps / sizeof *maps; k++)
        right = time_rows(&maps[k], quick ? 9 : 31) && right;
    return right;
}

int main(int argc, char **argv)
{
    bool (*const cases[])(bool) = {bench_hvp, bench_jacobian, bench_sparse, bench_checkpoint,
                                   bench_ode};
    bool right = true;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        right = cases[k](bench_quick(argc, argv)) && right;
    return !right;
}
