/*
 * A multilayer perceptron that reads digits.
 *
 * 2000 digits are drawn, 8 by 8 grey values each. A network 64-64-10 with rectified linear units sees
 * 1600 of them thirty times, 32 at a time, and is judged after each round by the 400 that it is never
 * trained on. It has to read at least 97 of a hundred of these.
 */
#include <nabla.h>

#include <stdio.h>
#include <stdlib.h>

enum { EPOCHS = 30, PIXELS = 64, HIDDEN = 64, CLASSES = 10 };

static nb_var model(void *context, const nb_pass *m, nb_var x) /* x [rows 8 8] */
{
    return nb_mlp_apply(context, m, nb_reshape(x, NB_SHAPE(nb_dim(x, 0), PIXELS)));
}

/* Loss on a logarithmic axis, and below it what share is right. */
static void plot(const nb_fit_result *r)
{
    double epoch[EPOCHS], loss[2][EPOCHS], right[2][EPOCHS];
    const size_t n = (size_t)r->epochs;
    for (size_t k = 0; k < n; k++) {
        epoch[k] = (double)r->history[k].epoch;
        loss[0][k] = r->history[k].loss;
        loss[1][k] = r->history[k].valid_loss;
        right[0][k] = 100 * r->history[k].metric[0];
        right[1][k] = 100 * r->history[k].valid_metric[0];
    }
    const nb_series losses[] = {{.name = "training", .n = n, .x = epoch, .y = loss[0]},
                                {.name = "held out", .n = n, .x = epoch, .y = loss[1]}};
    const nb_series rights[] = {{.name = "training", .n = n, .x = epoch, .y = right[0]},
                                {.name = "held out", .n = n, .x = epoch, .y = right[1]}};
    nb_plot_print(stdout,
                  &(nb_plot){.title = "Loss",
                             .x.label = "epoch",
                             .y.log = true,
                             .n = 2,
                             .series = losses,
                             .rows = 16},
                  NULL);
    nb_plot_print(stdout,
                  &(nb_plot){.title = "Right, per cent",
                             .x.label = "epoch",
                             .y.low = 80,
                             .y.high = 100,
                             .n = 2,
                             .series = rights,
                             .rows = 16},
                  NULL);
}

static nb_code train(nb_params *p, const nb_dataset *seen, const nb_dataset *held_out,
                     nb_fit_result *result, nb_reason *why)
{
    static const nb_prep_step steps[] = {{NB_PREP_STANDARDISE, 0}};
    const int64_t sizes[] = {PIXELS, HIDDEN, CLASSES};
    nb_rng r = nb_rng_seed(3);
    nb_mlp net = nb_mlp_new(p, "net", 3, sizes, NULL, &r);
    nb_prep *prep;
    nb_code code = nb_prep_fit(seen, 1, steps, &prep, why);
    if (code)
        return code;
    nb_optim *adam =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = 1e-3}, why);
    code = nb_fit(
        &(nb_fit_spec){.learner = {.params = p, .model = model, .context = &net, .prep = prep},
                       .train = seen,
                       .valid = held_out,
                       .optim = adam,
                       .batch = 32,
                       .epochs = EPOCHS,
                       .seed = 4,
                       .progress = stderr},
        result, why);
    nb_optim_free(adam);
    nb_prep_free(prep);
    return code;
}

int main(void)
{
    nb_reason why = {""};
    nb_dataset *all = NULL, *seen = NULL, *held_out = NULL;
    nb_fit_result result = {0};
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = NB_F32});
    double right = 0;
    nb_code code = nb_make_digits(&(nb_make){.rows = 2000, .seed = 1, .dtype = NB_F32}, &all, &why);
    if (!code)
        code = nb_dataset_split(all, 0.2, true, 2, &seen, &held_out, &why);
    if (!code)
        code = train(p, seen, held_out, &result, &why);
    if (code) {
        fprintf(stderr, "mlp: %s\n", why.text);
    } else {
        const nb_fit_epoch *last = &result.history[result.epochs - 1];
        nb_params_print(stdout, p);
        puts("");
        plot(&result);
        right = last->valid_metric[0];
        printf("\nloss %.4f, held out %.4f; right %.2f %%, held out %.2f %%\n", last->loss,
               last->valid_loss, 100 * last->metric[0], 100 * right);
    }
    nb_fit_result_free(&result);
    nb_params_free(p);
    nb_dataset_free(all);
    nb_dataset_free(seen);
    nb_dataset_free(held_out);
    return right >= 0.97 ? EXIT_SUCCESS : EXIT_FAILURE;
}
