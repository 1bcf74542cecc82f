/*
 * Vanishing gradients, and three remedies.
 *
 * In a deep network the gradient reaches the first layer as a product of one factor for each layer above.
 * The sigmoid's slope is at most 1/4: twelve such factors leave a ten-millionth, so that the first layers
 * do not learn, and those above learn from what they happen to pass on. The remedies work on the factor:
 *
 *     relu         a slope of 1 on one half, and He's weights, which make up for the other
 *     batch norm   sums are divided by their deviation before the sigmoid: small ones are made large, and so
 *                  are their gradients on the way back
 *     residual     h + sigmoid(h W + b): the gradient has a way past each layer, with the factor 1
 *
 * A monitor watches the activations of the first step and holds the gradient of each against that of the
 * last one. Those below a thousandth it flags. Then each network learns drawn digits for a while: where
 * gradients have vanished, the loss stays at that of guessing, log 10 = 2.303.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { DEPTH = 12, WIDTH = 64, CLASSES = 10, ROWS = 640, BATCH = 64, STEPS = 150, BAR = 12 };

typedef enum kind { SIGMOID, RELU, BATCH_NORM, RESIDUAL, KINDS } kind;
static const char *const kind_name[] = {"sigmoid", "relu", "batch norm", "residual"};
static const char *const layer_name[] = {"h1", "h2", "h3", "h4",  "h5",  "h6",
                                         "h7", "h8", "h9", "h10", "h11", "h12"};

typedef struct net {
    kind kind;
    nb_linear_layer layer[DEPTH], out;
    nb_batch_norm_layer norm[DEPTH];
    nb_monitor *monitor;
} net;

typedef struct outcome {
    double ratio[DEPTH]; /* of the gradient's length to that of the last layer */
    bool vanishing[DEPTH];
    int flagged;
    double loss;
} outcome;

static net net_new(nb_params *p, kind k, nb_rng *r)
{
    net n = {.kind = k};
    const nb_layer_options he = {.weight = {.rule = NB_INIT_HE_NORMAL}};
    for (int i = 0; i < DEPTH; i++) {
        char name[16];
        snprintf(name, sizeof name, "norm%d", i + 1);
        n.layer[i] = nb_linear_new(p, layer_name[i], WIDTH, WIDTH, k == RELU ? &he : NULL, r);
        if (k == BATCH_NORM)
            n.norm[i] = nb_batch_norm_new(p, name, WIDTH);
    }
    n.out = nb_linear_new(p, "out", WIDTH, CLASSES, NULL, r);
    return n;
}

static nb_var model(const net *n, const nb_pass *m, nb_var h)
{
    for (int i = 0; i < DEPTH; i++) {
        nb_var z = nb_linear_apply(&n->layer[i], m, h, NULL);
        if (n->kind == BATCH_NORM)
            z = nb_batch_norm_apply(&n->norm[i], m, z);
        z = n->kind == RELU ? nb_relu(z) : nb_sigmoid(z);
        h = n->kind == RESIDUAL ? nb_residual(h, z) : z;
        h = nb_monitor_watch(n->monitor, m, layer_name[i], h);
    }
    return nb_linear_apply(&n->out, m, h, NULL);
}

/* One step; NaN after an error. */
static double learn(const net *n, nb_params *p, nb_optim *o, nb_tape *t, const nb_dataset *b,
                    int step, nb_reason *why)
{
    const nb_mark start = nb_tape_mark(t);
    nb_monitor_begin(n->monitor, t, step);
    const nb_pass m = nb_training_pass(p, t, NULL);
    const nb_var x = nb_borrow_constant(t, NB_SHAPE(b->rows, WIDTH), b->x);
    const nb_var loss = nb_cross_entropy(model(n, &m, x), b->rows, b->label, NULL);
    double value = nb_value(loss);
    if (nb_backward(loss) || nb_monitor_look(n->monitor, why)) {
        printf("%s\n", nb_status(t) ? nb_message(t) : why->text);
        value = (double)NAN;
    }
    nb_rewind(start);
    if (nb_monitor_step(n->monitor, o, why)) {
        printf("%s\n", why->text);
        value = (double)NAN;
    }
    return value;
}

static void read_monitor(const nb_monitor *w, outcome *out)
{
    for (int i = 0; i < DEPTH; i++) {
        const nb_monitor_row *row = nb_monitor_latest(w, NB_MONITOR_SLOPE, layer_name[i]);
        out->ratio[i] = row ? row->ratio : (double)NAN;
        out->vanishing[i] = row && row->flags & 1u << NB_FLAG_VANISHING;
        out->flagged += out->vanishing[i];
    }
}

static outcome train(kind k, const nb_dataset *data)
{
    outcome out = {.loss = 0};
    nb_reason why = {""};
    nb_rng r = nb_rng_seed(1);
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = NB_F32});
    net n = net_new(p, k, &r);
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = 1e-3}, &why);
    n.monitor = nb_monitor_new(p, &(nb_monitor_options){.every = STEPS}, &why);
    nb_batches *batches;
    const nb_dataset *b;
    nb_batches_new(data, &(nb_batch_options){.size = BATCH, .shuffle = true, .seed = 2}, &batches,
                   &why);
    for (int step = 1; step <= STEPS && n.monitor && !nb_batches_next(batches, &b, &why);)
        if (b) { /* NULL: the epoch is over */
            const double loss = learn(&n, p, o, t, b, step, &why);
            out.loss += step++ > STEPS - 10 ? loss / 10 : 0; /* the mean of the last ten */
        }
    read_monitor(n.monitor, &out);
    nb_batches_free(batches);
    nb_monitor_free(n.monitor);
    nb_optim_free(o);
    nb_params_free(p);
    nb_tape_free(t);
    return out;
}

/* A bar of full length for 1, and of none for 1e-8. */
static void print_bar(double ratio, bool flagged)
{
    const double part = 1 + log10(ratio) / 8;
    const int n = part > 1 ? BAR : part > 0 ? (int)lround(BAR * part) : 0;
    printf("  %7.1e %c", ratio, flagged ? '!' : ' ');
    for (int i = 0; i < BAR; i++)
        putchar(i < n ? '#' : ' ');
}

static void show(const outcome *o)
{
    printf("%d layers of %d units: the gradient of each over that of the last\n\n    ", DEPTH,
           WIDTH);
    for (int k = 0; k < KINDS; k++)
        printf("  %-*s", BAR + 9, kind_name[k]);
    for (int i = 0; i < DEPTH; i++) {
        printf("\n%-4s", layer_name[i]);
        for (int k = 0; k < KINDS; k++)
            print_bar(o[k].ratio[i], o[k].vanishing[i]);
    }
    printf("\nloss");
    for (int k = 0; k < KINDS; k++)
        printf("  %-*.2f", BAR + 9, o[k].loss);
    printf("\n\n! the monitor says that it vanishes; the loss is that after %d steps\n", STEPS);
}

static bool as_expected(const outcome *o, kind k)
{
    if (k == SIGMOID)
        return o->flagged >= DEPTH / 2 && o->vanishing[0] && !o->vanishing[DEPTH - 1] &&
               o->ratio[0] < 1e-6 && fabs(o->loss - log(CLASSES)) < 0.1;
    return o->flagged == 0 && o->ratio[0] > 0.05 && o->ratio[0] < 20 && o->loss < 1;
}

int main(void)
{
    nb_dataset *digits = NULL, *data = NULL;
    nb_prep *prep = NULL;
    nb_reason why = {""};
    bool good =
        !nb_make_digits(&(nb_make){.rows = ROWS, .seed = 1, .dtype = NB_F32}, &digits, &why) &&
        !nb_prep_fit(digits, 1, &(nb_prep_step){NB_PREP_STANDARDISE, 0}, &prep, &why) &&
        !nb_prep_apply(prep, digits, &data, &why);
    if (!good)
        printf("%s\n", why.text);
    outcome o[KINDS] = {{.loss = 0}};
    for (int k = 0; good && k < KINDS; k++)
        o[k] = train((kind)k, data);
    show(o);
    for (int k = 0; k < KINDS; k++)
        good = good && as_expected(&o[k], (kind)k);
    puts(good ? "The sigmoid's gradient vanishes, the others' do not." : "Some figures are off.");
    nb_dataset_free(digits);
    nb_dataset_free(data);
    nb_prep_free(prep);
    return good ? 0 : 1;
}
