/*
 * A classifier for any table: a CSV file whose last column is the class.
 *
 *     csv_classify train data.csv model.safetensors [hidden=64] [epochs=30] [rate=1e-3] [batch=32] [test=0.2] [seed=1]
 *     csv_classify predict data.csv model.safetensors
 *
 * Training learns what the columns mean (numbers, categories, classes), holds out a share of the rows,
 * one-hot encodes categories, standardises, trains a multilayer perceptron by Adam, judges it on the
 * held-out rows, and saves all of that in one file. Predicting needs nothing but this file, and a table
 * with the same columns, with or without the class. hidden=100,50 makes two hidden layers.
 *
 * Without arguments it draws digits to a table, and does both.
 */
#include <nabla.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LAYERS = 8, NAME = 300 };

typedef struct settings {
    int64_t hidden[LAYERS], layers, epochs, batch;
    double rate, test;
    uint64_t seed;
} settings;

typedef struct classifier {
    nb_params *params;
    nb_mlp net;
    nb_schema *schema;
    nb_prep *prep;
} classifier;

static nb_var model(void *context, const nb_pass *m, nb_var x)
{
    return nb_mlp_apply(context, m, x);
}

static nb_learner learner_of(classifier *c)
{
    return (nb_learner){.params = c->params, .model = model, .context = &c->net, .prep = c->prep};
}

static void free_all(classifier *c)
{
    nb_schema_free(c->schema);
    nb_prep_free(c->prep);
    nb_params_free(c->params);
}

/* ---- training -------------------------------------------------------------------------------- */

static void print_scores(const classifier *c, int64_t n, const int64_t *predicted,
                         const int64_t *label, nb_reason *why)
{
    const int64_t classes = nb_schema_classes(c->schema);
    int64_t *matrix = malloc((size_t)(classes * classes) * sizeof *matrix);
    if (matrix && !nb_confusion(n, classes, predicted, label, matrix, why)) {
        printf("%12s  precision  recall     f1   rows\n", "class");
        for (int64_t k = 0; k < classes; k++) {
            const nb_score s = nb_class_score(classes, matrix, k);
            const char *name = nb_schema_class(c->schema, k);
            char number[24];
            snprintf(number, sizeof number, "%lld", (long long)k);
            printf("%12.12s  %9.3f  %6.3f  %5.3f  %5lld\n", name ? name : number, s.precision,
                   s.recall, s.f1, (long long)s.support);
        }
    }
    free(matrix);
}

/* The class that the model thinks likeliest, of each row. */
static nb_code predict_rows(classifier *c, const nb_dataset *d, int64_t *predicted, nb_reason *why)
{
    const int64_t classes = nb_schema_classes(c->schema);
    const nb_learner l = learner_of(c);
    float *y = malloc((size_t)(d->rows * classes) * sizeof *y);
    const nb_code code = y ? nb_outputs(&l, d, classes, y, why) : NB_ERR_MEMORY;
    if (!code)
        nb_predict(d->rows, classes, NB_F32, y, predicted);
    free(y);
    return code;
}

static nb_code judge(classifier *c, const nb_dataset *test, double *accuracy, nb_reason *why)
{
    int64_t *predicted = malloc((size_t)test->rows * sizeof *predicted);
    nb_code code = predicted ? predict_rows(c, test, predicted, why) : NB_ERR_MEMORY;
    if (!code)
        code = nb_accuracy(test->rows, predicted, test->label, accuracy, why);
    if (!code)
        print_scores(c, test->rows, predicted, test->label, why);
    free(predicted);
    return code;
}

static nb_code fit(classifier *c, const settings *s, const nb_dataset *train, nb_reason *why)
{
    int64_t sizes[LAYERS + 2] = {nb_prep_columns(c->prep)};
    nb_rng r = nb_rng_seed(s->seed);
    memcpy(sizes + 1, s->hidden, (size_t)s->layers * sizeof *sizes);
    sizes[s->layers + 1] = nb_schema_classes(c->schema);
    c->params = nb_params_new(&(nb_params_options){.dtype = NB_F32});
    c->net =
        nb_mlp_new(c->params, "net", (int)s->layers + 2, sizes,
                   &(nb_mlp_options){.weight.rule = NB_INIT_UNIFORM}, &r); /* PyTorch's choice */
    nb_optim *o = nb_optim_new(
        c->params, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = s->rate}, why);
    if (!o)
        return NB_ERR_ARGUMENT;
    const nb_learner l = learner_of(c);
    nb_fit_result result;
    double loss, right[NB_METRICS];
    nb_code code = nb_fit(&(nb_fit_spec){.learner = l,
                                         .train = train,
                                         .batch = s->batch,
                                         .epochs = s->epochs,
                                         .seed = s->seed,
                                         .optim = o,
                                         .interruptible = true,
                                         .progress = stderr},
                          &result, why);
    if (!code)
        code = nb_evaluate(&l, train, &loss, right, why);
    if (!code)
        printf("training: %lld rows, %lld steps, %s; loss %.4f, accuracy %.3f\n",
               (long long)train->rows, (long long)result.steps, nb_fit_end_name(result.end), loss,
               right[0]);
    nb_fit_result_free(&result);
    nb_optim_free(o);
    return code;
}

static nb_code train(const char *data, const char *file, const settings *s, double *accuracy,
                     nb_reason *why)
{
    static const nb_prep_step steps[] = {{NB_PREP_ONE_HOT, 0}, {NB_PREP_STANDARDISE, 0}};
    classifier c = {0};
    nb_dataset *all = NULL, *rest = NULL, *test = NULL;
    nb_code code = nb_csv_scan(data, &(nb_csv_options){.dtype = NB_F32, .missing = NB_MISSING_MEAN},
                               &c.schema, why);
    if (!code)
        code = nb_csv_load(data, c.schema, &all, why);
    if (!code)
        code = nb_dataset_split(all, s->test, true, s->seed, &rest, &test, why);
    if (!code)
        code = nb_prep_fit(rest, 2, steps, &c.prep, why);
    if (!code)
        code = fit(&c, s, rest, why);
    if (!code)
        code = judge(&c, test, accuracy, why);
    if (!code)
        printf("held out: %lld rows, accuracy %.3f\n", (long long)test->rows, *accuracy);
    if (!code)
        code =
            nb_save(&(nb_saved){.params = c.params, .prep = c.prep, .schema = c.schema}, file, why);
    nb_dataset_free(all);
    nb_dataset_free(rest);
    nb_dataset_free(test);
    free_all(&c);
    return code;
}

/* ---- predicting ------------------------------------------------------------------------------ */

/* The layers that a file's parameters are of: net.w0 [in out], net.w1, … */
static nb_code make_alike(classifier *c, const char *file, nb_reason *why)
{
    nb_file *f;
    int64_t sizes[LAYERS + 2];
    int count = 0;
    nb_code code = nb_file_load(file, NULL, &f, why);
    for (; !code && count < LAYERS + 1; count++) {
        char name[32];
        snprintf(name, sizeof name, "net.w%d", count);
        const nb_file_entry *e = nb_file_find(f, name);
        if (!e || e->shape.rank != 2)
            break;
        sizes[count] = e->shape.dims[0];
        sizes[count + 1] = e->shape.dims[1];
    }
    nb_file_free(f);
    if (!code && !count) {
        snprintf(why->text, sizeof why->text, "%.200s is not a classifier's file", file);
        code = NB_ERR_FORMAT;
    }
    if (code)
        return code;
    nb_rng r = nb_rng_seed(1);
    c->params = nb_params_new(&(nb_params_options){.dtype = NB_F32});
    c->net = nb_mlp_new(c->params, "net", count + 1, sizes, NULL, &r);
    return NB_OK;
}

static nb_code load(classifier *c, const char *file, nb_reason *why)
{
    nb_code code = make_alike(c, file, why);
    nb_saved s = {.params = c->params};
    if (!code)
        code = nb_load(&s, file, why);
    c->schema = s.schema;
    c->prep = s.prep;
    if (!code && (!c->schema || !c->prep)) {
        snprintf(why->text, sizeof why->text, "%.180s has no meaning of columns in it", file);
        code = NB_ERR_FORMAT;
    }
    return code;
}

/* One class a line, to `to`; and if the table tells the classes, how many are right. */
static nb_code predict(const char *data, const char *file, FILE *to, double *accuracy,
                       nb_reason *why)
{
    classifier c = {0};
    nb_dataset *d = NULL;
    nb_code code = load(&c, file, why);
    if (!code)
        code = nb_csv_load(data, c.schema, &d, why);
    int64_t *predicted = code ? NULL : malloc((size_t)d->rows * sizeof *predicted);
    if (!code)
        code = predicted ? predict_rows(&c, d, predicted, why) : NB_ERR_MEMORY;
    for (int64_t i = 0; !code && i < d->rows; i++) {
        const char *name = nb_schema_class(c.schema, predicted[i]);
        if (name)
            fprintf(to, "%s\n", name);
        else
            fprintf(to, "%lld\n", (long long)predicted[i]);
    }
    if (!code && d->label && !nb_accuracy(d->rows, predicted, d->label, accuracy, why))
        fprintf(stderr, "accuracy %.3f\n", *accuracy);
    free(predicted);
    nb_dataset_free(d);
    free_all(&c);
    return code;
}

/* ---- the demonstration ----------------------------------------------------------------------- */

static nb_code draw_table(const char *path, int64_t rows, uint64_t seed, nb_reason *why)
{
    nb_dataset *d;
    const nb_code code =
        nb_make_digits(&(nb_make){.rows = rows, .seed = seed, .dtype = NB_F32}, &d, why);
    FILE *f = code ? NULL : fopen(path, "w");
    for (int64_t i = 0; f && i < rows; i++) {
        for (int64_t k = 0; k < d->columns; k++)
            fprintf(f, "%.0f,", (double)((const float *)d->x)[i * d->columns + k]);
        fprintf(f, "%lld\n", (long long)d->label[i]);
    }
    if (!code)
        nb_dataset_free(d);
    return !f || fclose(f) ? NB_ERR_FILE : NB_OK;
}

static nb_code demonstrate(const settings *s, nb_reason *why)
{
    char folder[] = "/tmp/nabla_digits_XXXXXX", data[NAME], more[NAME], file[NAME];
    double held_out = 0, others = 0;
    if (!mkdtemp(folder))
        return NB_ERR_FILE;
    snprintf(data, NAME, "%s/digits.csv", folder);
    snprintf(more, NAME, "%s/more.csv", folder);
    snprintf(file, NAME, "%s/model.safetensors", folder);
    FILE *nowhere = fopen("/dev/null", "w");
    nb_code code = draw_table(data, 1797, 1, why);
    if (!code)
        code = draw_table(more, 500, 2, why);
    if (!code)
        code = train(data, file, s, &held_out, why);
    if (!code && nowhere)
        code = predict(more, file, nowhere, &others, why);
    if (!code)
        printf("500 digits more, by the model in the file: accuracy %.3f\n", others);
    if (nowhere)
        fclose(nowhere);
    unlink(data);
    unlink(more);
    unlink(file);
    rmdir(folder);
    return code || held_out < 0.97 || others < 0.97 ? (code ? code : NB_ERR_LAW) : NB_OK;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static int usage(void)
{
    fputs("usage: csv_classify train DATA.csv MODEL [hidden=64,...] [epochs=30] [rate=1e-3]\n"
          "                    [batch=32] [test=0.2] [seed=1]\n"
          "       csv_classify predict DATA.csv MODEL\n",
          stderr);
    return 2;
}

static bool read_hidden(settings *s, char *text)
{
    s->layers = 0;
    for (char *end = text; s->layers < LAYERS; text = end + 1) {
        s->hidden[s->layers++] = strtoll(text, &end, 10);
        if (end == text || s->hidden[s->layers - 1] < 1 || (*end && *end != ','))
            return false;
        if (!*end)
            return true;
    }
    return false;
}

static bool read_setting(settings *s, char *text)
{
    char *value = strchr(text, '='), *end;
    if (!value)
        return false;
    *value++ = 0;
    if (!strcmp(text, "hidden"))
        return read_hidden(s, value);
    const double x = strtod(value, &end);
    if (end == value || *end || !(x >= 0 && x < 1e15))
        return false;
    if (!strcmp(text, "rate"))
        s->rate = x;
    else if (!strcmp(text, "test"))
        s->test = x;
    else if (!strcmp(text, "epochs"))
        s->epochs = (int64_t)x;
    else if (!strcmp(text, "batch"))
        s->batch = (int64_t)x;
    else if (!strcmp(text, "seed"))
        s->seed = (uint64_t)x;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    settings s = {.hidden = {64},
                  .layers = 1,
                  .epochs = 30,
                  .batch = 32,
                  .rate = 1e-3,
                  .test = 0.2,
                  .seed = 1};
    nb_reason why = {""};
    double accuracy = 0;
    nb_code code;
    for (int k = 4; k < argc; k++)
        if (!read_setting(&s, argv[k]))
            return usage();
    if (argc == 1)
        code = demonstrate(&s, &why);
    else if (argc >= 4 && !strcmp(argv[1], "train"))
        code = train(argv[2], argv[3], &s, &accuracy, &why);
    else if (argc == 4 && !strcmp(argv[1], "predict"))
        code = predict(argv[2], argv[3], stdout, &accuracy, &why);
    else
        return usage();
    if (code)
        fprintf(stderr, "csv_classify: %s\n", *why.text ? why.text : nb_code_text(code));
    return code != NB_OK;
}
