/*
 * A multilayer perceptron that reads digits.
 *
 * 2000 digits are drawn, 8 by 8 grey values each. A network 64-64-10 with rectified linear units sees
 * 1600 of them thirty times, 32 at a time, and is then asked about the 400 that it has never seen. It
 * has to name at least 97 of a hundred.
 */
#include <nabla.h>

#include <stdio.h>

enum { EPOCHS = 30 };

static nb_var model(void *context, const nb_pass *m, nb_var x)
{
    return nb_mlp_apply(context, m, nb_reshape(x, NB_SHAPE(nb_dim(x, 0), 64)));
}

int main(void)
{
    nb_reason why = {""};
    nb_dataset *all = NULL, *train = NULL, *test = NULL;
    nb_prep *prep = NULL;
    const nb_prep_step steps[] = {{NB_PREP_STANDARDISE, 0}};
    nb_code code = nb_make_digits(&(nb_make){.rows = 2000, .seed = 1, .dtype = NB_F32}, &all, &why);
    if (!code)
        code = nb_dataset_split(all, 0.2, true, 2, &train, &test, &why);
    if (!code)
        code = nb_prep_fit(train, 1, steps, &prep, &why);

    nb_params *p = nb_params_new(&(nb_params_options){.dtype = NB_F32});
    nb_rng r = nb_rng_seed(3);
    const int64_t sizes[] = {64, 64, 10};
    nb_mlp net = nb_mlp_new(p, "net", 3, sizes, NULL, &r);
    nb_optim *o = nb_optim_new(
        p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = 1e-3}, &why);

    nb_fit_result result = {0};
    if (!code)
        code = nb_fit(&(nb_fit_spec){.learner = {.params = p,
                                                 .model = model,
                                                 .context = &net,
                                                 .prep = prep},
                                     .train = train,
                                     .valid = test,
                                     .optim = o,
                                     .epochs = EPOCHS,
                                     .seed = 4,
                                     .progress = stderr},
                      &result, &why);
    for (int64_t k = 0; k < result.epochs; k++)
        printf("%2lld  %.4f %.4f  %.4f %.4f\n", (long long)result.history[k].epoch,
               result.history[k].loss, result.history[k].metric, result.history[k].valid_loss,
               result.history[k].valid_metric);
    const double accuracy = result.epochs ? result.history[result.epochs - 1].valid_metric : 0;
    if (code)
        fprintf(stderr, "%s\n", why.text);
    nb_fit_result_free(&result);
    nb_optim_free(o);
    nb_params_free(p);
    nb_prep_free(prep);
    nb_dataset_free(train);
    nb_dataset_free(test);
    nb_dataset_free(all);
    return accuracy >= 0.97 ? 0 : 1;
}
