/*
 * An autoencoder with tied weights, held against principal components.
 *
 * A picture x of 64 grey values is squeezed through a few units and unfolded again by the same matrix:
 *
 *     h = f(x W + b),    x' = h W' + c
 *
 * and the loss is |x' - x|^2, so that the picture is its own label. W is used twice, and backpropagation
 * adds what both uses send back: dL/dW = dL/dW (encoding) + (dL/dV)' (decoding, by V = W'). The sum is
 * checked against a model in which the two are separate.
 *
 * Without f the model is linear, and the best linear map through k units is known: onto the first k
 * principal components, with an error of the squares of the singular values that are left out, by the
 * theorem of Eckart and Young. Nothing linear can do better, and descent should get as far. With tanh, and a
 * second layer, the squeeze may be curved as the set of digits is, and so do better than any plane.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { PIXELS = 64, MIDDLE = 48, UNITS = 8, SHOWN = 5, EPOCHS = 150 };

static nb_var identity(nb_var x) { return x; }

static nb_var model(void *context, const nb_pass *m, nb_var x)
{
    const nb_autoencoder *net = context;
    return nb_autoencoder_decode(net, m, nb_autoencoder_encode(net, m, x));
}

static nb_var itself(void *context, const nb_pass *m, nb_var y, const nb_dataset *batch)
{
    (void)context;
    nb_var x = nb_borrow_constant(m->tape, NB_SHAPE(batch->rows, PIXELS), batch->x);
    return nb_squared_error(y, x, NULL);
}

/* ---- the tied gradient ----------------------------------------------------------------------- */

/* The gradient of W, against the sum of those of two matrices that happen to be equal. Returns the largest
 * difference. */
static double tied_gradient(nb_tape *t, const nb_dataset *d)
{
    double tied[PIXELS * UNITS], encode[PIXELS * UNITS], decode[PIXELS * UNITS], off = 0;
    nb_params *p = nb_params_new(NULL);
    nb_rng r = nb_rng_seed(1);
    nb_autoencoder net =
        nb_autoencoder_new(p, "tied", 2, (int64_t[]){PIXELS, UNITS}, nb_tanh, NULL, &r);
    nb_mark start = nb_tape_mark(t);
    nb_pass m = nb_training_pass(p, t, NULL);
    nb_var x = nb_borrow_constant(t, NB_SHAPE(d->rows, PIXELS), d->x),
           w = nb_pass_var(&m, net.first);
    nb_backward(nb_squared_error(model(&net, &m, x), x, NULL));
    nb_read_grad(w, tied, PIXELS * UNITS);

    nb_var W = nb_leaf("W", w), V = nb_leaf("V", w), c = nb_pass_var(&m, net.first + 2);
    nb_var h = nb_dense(x, W, nb_pass_var(&m, net.first + 1), nb_tanh);
    nb_backward(nb_squared_error(nb_add(nb_matmul_t(h, false, V, true), c), x, NULL));
    nb_read_grad(W, encode, PIXELS * UNITS);
    nb_read_grad(V, decode, PIXELS * UNITS);
    for (int k = 0; k < PIXELS * UNITS; k++)
        off = fmax(off, fabs(tied[k] - (encode[k] + decode[k])));
    nb_rewind(start);
    nb_params_free(p);
    return off;
}

/* ---- principal components -------------------------------------------------------------------- */

/* The mean squared error per pixel of the best plane of UNITS dimensions. */
static double best_plane(nb_tape *t, const nb_dataset *d)
{
    nb_mark start = nb_tape_mark(t);
    nb_var x = nb_borrow_constant(t, NB_SHAPE(d->rows, PIXELS), d->x);
    nb_var left_out =
        nb_slice(nb_svdvals(nb_sub(x, nb_mean_over(x, NB_AXES(0), true))), 0, UNITS, NB_END, 1);
    const double error = nb_value(nb_sum(nb_square(left_out))) / (double)(d->rows * PIXELS);
    nb_rewind(start);
    return error;
}

/* ---- training and looking -------------------------------------------------------------------- */

typedef struct trained {
    double error, held_out;       /* mean squared errors, per pixel */
    double shown[SHOWN * PIXELS]; /* what it makes of the first pictures held out */
} trained;

static nb_code measure(const nb_learner *l, const nb_dataset *train, const nb_dataset *test,
                       trained *out, nb_reason *why)
{
    nb_dataset first = *test;
    first.rows = SHOWN;
    nb_code code = nb_evaluate(l, train, &out->error, NULL, why);
    if (!code)
        code = nb_evaluate(l, test, &out->held_out, NULL, why);
    return code ? code : nb_outputs(l, &first, PIXELS, out->shown, why);
}

static nb_code fit(int count, const int64_t *sizes, nb_activation f, double rate,
                   const nb_dataset *train, const nb_dataset *test, trained *out, nb_reason *why)
{
    nb_rng r = nb_rng_seed(2);
    nb_params *p = nb_params_new(NULL);
    nb_autoencoder net = nb_autoencoder_new(p, "auto", count, sizes, f, NULL, &r);
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = rate}, why);
    const nb_learner l = {.params = p, .model = model, .loss = itself, .context = &net};
    nb_code code = nb_fit(&(nb_fit_spec){.learner = l,
                                         .train = train,
                                         .optim = o,
                                         .schedule = {.kind = NB_COSINE, .rate = rate},
                                         .epochs = EPOCHS,
                                         .seed = 3},
                          NULL, why);
    if (!code)
        code = measure(&l, train, test, out, why);
    nb_optim_free(o);
    nb_params_free(p);
    return code;
}

/* Pictures side by side, two characters a pixel. */
static void show(const char *what, const double *x)
{
    static const char shade[] = " .:-=+*#%@";
    printf("\n%s\n", what);
    for (int row = 0; row < 8; row++) {
        for (int k = 0; k < SHOWN; k++)
            for (int column = 0; column < 8; column++) {
                const double grey = x[k * PIXELS + row * 8 + column];
                const char ink = shade[(int)fmax(0, fmin(9, 10 * grey))];
                printf("%c%c", ink, ink);
            }
        puts("");
    }
}

/* Digits with grey values in [0, 1], a fifth of them held out. */
static nb_code make_digits(nb_dataset **train, nb_dataset **test, nb_reason *why)
{
    nb_dataset *drawn = NULL, *scaled = NULL;
    nb_prep *prep = NULL;
    *train = *test = NULL;
    nb_code code = nb_make_digits(&(nb_make){.rows = 1000, .seed = 4}, &drawn, why);
    if (!code)
        code = nb_prep_fit(drawn, 1, &(nb_prep_step){.kind = NB_PREP_MIN_MAX}, &prep, why);
    if (!code)
        code = nb_prep_apply(prep, drawn, &scaled, why);
    if (!code)
        scaled->shape = NB_SHAPE(PIXELS); /* a row of numbers, no longer a picture */
    if (!code)
        code = nb_dataset_split(scaled, 0.2, true, 5, train, test, why);
    nb_prep_free(prep);
    nb_dataset_free(scaled);
    nb_dataset_free(drawn);
    return code;
}

static bool report(nb_tape *t, const nb_dataset *train, const nb_dataset *test,
                   const trained *linear, const trained *curved)
{
    const double apart = tied_gradient(t, train), plane = best_plane(t, train);
    printf("The gradient of the tied matrix is%s the sum of both uses', to rounding.\n\n",
           apart < 1e-15 ? "" : " NOT");
    printf("squared error per pixel        train  held out\n"
           "%d principal components      %.5f\n"
           "64-%d, linear                %.5f   %.5f\n"
           "64-%d-%d, tanh               %.5f   %.5f\n",
           UNITS, plane, UNITS, linear->error, linear->held_out, MIDDLE, UNITS, curved->error,
           curved->held_out);
    show("Held out:", test->x);
    show("From the linear one:", linear->shown);
    show("From the curved one:", curved->shown);
    return apart < 1e-15 && linear->error > plane * (1 - 1e-9) && linear->error < 1.01 * plane &&
           curved->error < 0.85 * plane && curved->held_out < 0.9 * linear->held_out &&
           !nb_status(t);
}

int main(void)
{
    static trained linear, curved;
    nb_dataset *train, *test;
    nb_reason why = {""};
    nb_tape *t = nb_tape_new(NULL);
    nb_code code = make_digits(&train, &test, &why);
    if (!code)
        code = fit(2, (int64_t[]){PIXELS, UNITS}, identity, 0.01, train, test, &linear, &why);
    if (!code)
        code =
            fit(3, (int64_t[]){PIXELS, MIDDLE, UNITS}, nb_tanh, 0.004, train, test, &curved, &why);
    const bool good = !code && report(t, train, test, &linear, &curved);
    printf("\n%s\n", good   ? "The linear one reaches the plane, the curved one goes below."
                     : code ? why.text
                            : "The figures are off.");
    nb_dataset_free(train);
    nb_dataset_free(test);
    nb_tape_free(t);
    return good ? 0 : 1;
}
