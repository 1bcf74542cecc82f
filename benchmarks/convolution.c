/*
 * Convolution against the machine's peak.
 *
 * Each case is a layer of 3 x 3 windows on a batch, in float, on one thread: its forward rule
 * (`forward`) and its reverse rule by the weights alone (`weights`) and by the images alone
 * (`images`), called as the tape calls them, plans and scratch included. The figures are the rate in
 * useful floating-point operations, padding counted, and its share of the peak, which a loop of fused
 * multiply-adds shows in the same run.
 *
 * Before it is timed, a sample of each result is compared with plain sums.
 */
#include "bench.h"
#include "peak.h"

#include "ops/convolution.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <math.h>
#include <nabla.h>

typedef struct layer {
    const char *name;
    int64_t images, in, out, side, padding;
    const char *bar;
} layer;

static const layer layers[] = {
    {"1to8_28_b32", 32, 1, 8, 28, 0, ">=0.4"},    {"8to16_13_b32", 32, 8, 16, 13, 0, ">=0.4"},
    {"1to8_28p_b32", 32, 1, 8, 28, 1, "-"},       {"8to16_14p_b32", 32, 8, 16, 14, 1, ">=0.4"},
    {"64to64_28p_b4", 4, 64, 64, 28, 1, "-"},     {"3to64_224p_b1", 1, 3, 64, 224, 1, "-"},
    {"256to256_14p_b1", 1, 256, 256, 14, 1, "-"},
};

enum { FORWARD, WEIGHTS, IMAGES, PARTS, MOST_SAMPLES = 48 };
static const char *const parts[PARTS] = {"forward", "weights", "images"};

/* A call of the operation as its rules see it. */
typedef struct setting {
    nb_tape *t;
    nb_var x, w, y, g, dx, dw;
    nbi_conv_state state;
    nb_array in[2], out, adjoint, gin[2];
    nb_call call;
} setting;

static nb_array view(nb_var v)
{
    float unused;
    return nbi_array_of(v.tape, v.index, &unused);
}

static void set_up(setting *s, const layer *l)
{
    nb_rng r = nb_rng_seed(1);
    const nb_conv_options o = {.padding = {l->padding, l->padding}};
    nb_tape *t = s->t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    s->x = nb_normal(t, NB_SHAPE(l->images, l->in, l->side, l->side), 0, 1, &r);
    s->w = nb_normal(t, NB_SHAPE(l->out, l->in, 3, 3), 0, 1, &r);
    s->y = nb_conv2d(s->x, s->w, NB_NONE, &o);
    s->g = nb_normal(t, nb_shape_of(s->y), 0, 1, &r);
    s->dx = nb_zeros(t, nb_shape_of(s->x));
    s->dw = nb_zeros(t, nb_shape_of(s->w));
    if (nb_status(t)) {
        fprintf(stderr, "%s\n", nb_message(t));
        exit(EXIT_FAILURE);
    }
    s->in[0] = view(s->x), s->in[1] = view(s->w), s->out = view(s->y), s->adjoint = view(s->g);
    s->gin[0] = view(s->dx), s->gin[1] = view(s->dw);
    s->state = nbi_conv_start(2, &o);
    s->call = (nb_call){t, &nbi_op_conv, 2, s->in, &s->out, &s->state, NULL};
    nb_shape shape;
    nbi_op_conv.shape(&s->call, &shape);
}

static void run(setting *s, int part)
{
    const bool add[2] = {false, false};
    nb_array *const gin[2] = {part == IMAGES ? &s->gin[0] : NULL,
                              part == WEIGHTS ? &s->gin[1] : NULL};
    if (part == FORWARD)
        nbi_op_conv.forward(&s->call);
    else
        nbi_op_conv.reverse_arrays(&s->call, &s->adjoint, gin, add);
}

/* ---- plain sums ------------------------------------------------------------------------------ */

static double at(const nb_array *a, int64_t n, int64_t c, int64_t i, int64_t j)
{
    if (i < 0 || j < 0 || i >= a->dims[2] || j >= a->dims[3])
        return 0;
    return (double)((float *)a->data)[((n * a->dims[1] + c) * a->dims[2] + i) * a->dims[3] + j];
}

static double plain(const setting *s, const layer *l, int part, const int64_t p[4], double *size)
{
    const int64_t to = part == WEIGHTS ? s->out.dims[2] : 3, pad = l->padding;
    const int64_t first = part == WEIGHTS ? l->images : part == FORWARD ? l->in : l->out;
    double sum = 0;
    *size = 0;
    for (int64_t c = 0; c < first; c++)
        for (int64_t i = 0; i < to; i++)
            for (int64_t j = 0; j < to; j++) {
                double term;
                if (part == FORWARD)
                    term = at(&s->in[0], p[0], c, p[2] + i - pad, p[3] + j - pad) *
                           at(&s->in[1], p[1], c, i, j);
                else if (part == WEIGHTS)
                    term = at(&s->in[0], c, p[1], p[2] + i - pad, p[3] + j - pad) *
                           at(&s->adjoint, c, p[0], i, j);
                else
                    term = at(&s->adjoint, p[0], c, p[2] - i + pad, p[3] - j + pad) *
                           at(&s->in[1], c, p[1], i, j);
                sum += term;
                *size += fabs(term);
            }
    return sum;
}

static void verify(setting *s, const layer *l, int part)
{
    const nb_array *a = part == FORWARD ? &s->out : &s->gin[part == WEIGHTS];
    run(s, part);
    for (int64_t k = 0; k < 50; k++) {
        int64_t p[4], left = k * 7919 % a->size;
        for (int i = 3; i >= 0; left /= a->dims[i], i--)
            p[i] = left % a->dims[i];
        double size, sum = plain(s, l, part, p, &size), error = fabs(at(a, p[0], p[1], p[2], p[3]) - sum);
        if (!(error <= 1e-5 * size)) {
            fprintf(stderr, "%s %s: wrong by %g\n", l->name, parts[part], error);
            exit(EXIT_FAILURE);
        }
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

static void measure(setting *s, const layer *l, int part, bool quick)
{
    const double flop = 2.0 * 9 * (double)l->in * (double)s->out.size;
    double guess = bench_now(), time[MOST_SAMPLES], share[MOST_SAMPLES];
    run(s, part);
    guess = bench_now() - guess;
    const int repeats = guess > 5e-4 ? 1 : (int)(5e-4 / guess) + 1, n = quick ? 7 : MOST_SAMPLES;
    for (int k = 0; k < n; k++) {
        const double peak = bench_peak(s->t->isa, false), begin = bench_now();
        for (int i = 0; i < repeats; i++)
            run(s, part);
        time[k] = (bench_now() - begin) / repeats;
        share[k] = flop / time[k] / peak;
    }
    char figure[32];
    const double median = bench_median(time, (size_t)n);
    snprintf(figure, sizeof figure, "%s_us", parts[part]);
    bench_line("convolution", l->name, figure, median * 1e6, "us", "-");
    snprintf(figure, sizeof figure, "%s_gflops", parts[part]);
    bench_line("convolution", l->name, figure, flop / median * 1e-9, "gflop/s", "-");
    snprintf(figure, sizeof figure, "%s_of_peak", parts[part]);
    bench_line("convolution", l->name, figure, bench_median(share, (size_t)n), "ratio", l->bar);
}

int main(int argc, char **argv)
{
    const bool quick = bench_quick(argc, argv);
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        setting s;
        set_up(&s, &layers[i]);
        for (int part = 0; part < PARTS; part++) {
            verify(&s, &layers[i], part);
            measure(&s, &layers[i], part, quick);
        }
        nb_tape_free(s.t);
    }
    return EXIT_SUCCESS;
}
