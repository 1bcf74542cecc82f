/*
 * Why the scale of the first weights matters.
 *
 * 1000 samples of 500 unit-Gaussian features go through ten layers of 500 units, h = f(h W), that nobody
 * has trained. A unit adds up 500 terms, so weights of variance v make sums of variance 500 v E[h^2]:
 *
 *     v = 1 / 500     tanh sees sums of size 1 and keeps about that size; slowly it shrinks
 *     v = 0.01^2      each layer multiplies by 0.22, and ten of them leave nothing. A gradient with
 *                     respect to W is a product with h: it is as small
 *     v = 1           sums of size 22, where tanh is flat: all is -1 or 1, and no gradient comes back
 *
 * relu cuts away one half of the sums and of their square. Weights of variance 1 / 500 therefore halve the mean
 * square with each layer, and He's, of variance 2 / 500, keep it.
 *
 * The pictures are histograms: the darker, the more units have that value.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>
#include <string.h>

enum { SAMPLES = 1000, WIDTH = 500, LAYERS = 10, BINS = 40 };

typedef struct layer_figures {
    double deviation, square; /* of the units' values, and the mean of their squares */
    double saturated;         /* the share beyond -0.99 and 0.99, where tanh is flat */
    char picture[BINS + 1];   /* from `from` to `to` */
} layer_figures;

typedef struct setting {
    const char *title;
    nb_activation f;
    nb_init weight;
    double from, to;
} setting;

static void draw(const float *x, int64_t n, const setting *s, char *picture)
{
    static const char shade[] = " .:-=+*#%@";
    int64_t count[BINS] = {0}, most = 0;
    for (int64_t k = 0; k < n; k++) {
        const double place = ((double)x[k] - s->from) / (s->to - s->from) * BINS;
        const int bin = place < 0 ? 0 : place < BINS ? (int)place : BINS - 1;
        most = ++count[bin] > most ? count[bin] : most;
    }
    for (int b = 0; b < BINS; b++) /* the root, so that thin tails are seen */
        picture[b] = shade[(int)(9 * sqrt((double)count[b] / (double)most) + 0.5)];
    picture[BINS] = 0;
}

static void measure(nb_var h, const setting *s, layer_figures *out)
{
    nb_summary all;
    const float *x = nb_data(h);
    const int64_t n = nb_size(h);
    *out = (layer_figures){.deviation = (double)NAN};
    if (!x || nb_summarise(NB_F32, x, n, NULL, &all, NULL))
        return;
    out->deviation = all.deviation;
    out->square = all.length * all.length / (double)n;
    for (int64_t k = 0; k < n; k++)
        out->saturated += (fabsf(x[k]) > 0.99f) / (double)n;
    draw(x, n, s, out->picture);
}

/* One walk through ten fresh layers. */
static void walk(const setting *s, layer_figures *out)
{
    nb_rng r = nb_rng_seed(1);
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = NB_F32});
    nb_linear_layer layer[LAYERS];
    for (int k = 0; k < LAYERS; k++) {
        char name[24];
        snprintf(name, sizeof name, "layer%d", k + 1);
        layer[k] = nb_linear_new(p, name, WIDTH, WIDTH,
                                 &(nb_layer_options){.weight = s->weight, .no_bias = true}, &r);
    }
    const nb_pass m = nb_evaluation_pass(p, t);
    nb_var h = nb_normal(t, NB_SHAPE(SAMPLES, WIDTH), 0, 1, &r);
    for (int k = 0; k < LAYERS; k++) {
        h = nb_linear_apply(&layer[k], &m, h, s->f);
        measure(h, s, &out[k]);
    }
    if (nb_status(t))
        printf("%s\n", nb_message(t));
    nb_params_free(p);
    nb_tape_free(t);
}

static void show(const setting *s, const layer_figures *f)
{
    const bool tanh = s->from < 0;
    printf("%s\n  layer  deviation  %s   %-4g%*g\n", s->title, tanh ? "saturated  " : "mean square",
           s->from, BINS - 3, s->to);
    for (int k = 0; k < LAYERS; k++)
        printf("  %5d  %9.3g  %9.3g %s   |%s|\n", k + 1, f[k].deviation,
               tanh ? 100 * f[k].saturated : f[k].square, tanh ? "%" : " ", f[k].picture);
    puts("");
}

static bool near(const char *what, int k, double value, double wanted, double tolerance)
{
    if (fabs(value - wanted) <= tolerance)
        return true;
    printf("%s of layer %d is %g, and should be %g\n", what, k + 1, value, wanted);
    return false;
}

int main(void)
{
    static const double fan_in[LAYERS] = {0.627, 0.487, 0.407, 0.357, 0.320,
                                          0.293, 0.273, 0.255, 0.240, 0.227};
    static const setting settings[] = {
        {"tanh, weights of deviation 1 / sqrt(500)", nb_tanh, {NB_INIT_LECUN_NORMAL, 0, 0}, -1, 1},
        {"tanh, weights of deviation 0.01", nb_tanh, {NB_INIT_NORMAL, 0, 0.01}, -1, 1},
        {"tanh, weights of deviation 1", nb_tanh, {NB_INIT_NORMAL, 0, 1}, -1, 1},
        {"relu, weights of deviation 1 / sqrt(500)", nb_relu, {NB_INIT_LECUN_NORMAL, 0, 0}, 0, 4},
        {"relu, weights of deviation sqrt(2 / 500)", nb_relu, {NB_INIT_HE_NORMAL, 0, 0}, 0, 4},
    };
    static layer_figures f[5][LAYERS];
    bool good = true;
    for (int k = 0; k < 5; k++) {
        walk(&settings[k], f[k]);
        show(&settings[k], f[k]);
    }
    for (int k = 0; k < LAYERS; k++) {
        good &= near("fan-in: the deviation", k, f[0][k].deviation, fan_in[k], 0.01);
        good &= near("1: the deviation", k, f[2][k].deviation, 0.98, 0.01);
        good &= near("1: the saturated share", k, f[2][k].saturated, 0.9, 0.02);
        good &= near("relu: the mean square", k, f[3][k].square, pow(0.5, k + 1),
                     0.15 * pow(0.5, k + 1));
        good &= near("He: the mean square", k, f[4][k].square, 1, 0.15);
    }
    good &= near("0.01: the deviation", 0, f[1][0].deviation, 0.213, 0.001);
    good &= near("0.01: the deviation", 9, f[1][9].deviation, 2.96e-7, 0.1e-7);
    puts(good ? "All figures are as they should be." : "Some figures are off.");
    return good ? 0 : 1;
}
