/*
 * Softmax and cross-entropy as one block, whose gradient is y-hat minus y.
 *
 * A classifier's last layer makes one number per class, the logits z. Softmax turns them into
 * probabilities, and the loss is the surprise at the right class:
 *
 *     p[k] = e^z[k] / sum over j of e^z[j],    L = -log p[label]
 *
 * Taken one by one, the derivatives are a full matrix, dp[i]/dz[j] = p[i] (i = j) - p[i] p[j], and the
 * slope -1 / p[label], which is huge where the model is wrong. Multiplied, nearly all of it cancels:
 *
 *     L = log(sum over j of e^z[j]) - z[label],    dL/dz[k] = p[k] - (1 if k is the label, else 0)
 *
 * and so the two are better one block: the gradient is what was said minus what is so, it cannot
 * overflow, and with the greatest logit taken out of the sum the value cannot either.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { CLASSES = 3, ROWS = 64, MANY = 10 };

/* The block as it stands in the first formula: exponentials, a quotient, a logarithm. */
static nb_var naive(nb_var z, int64_t label)
{
    nb_var e = nb_exp(z), p = nb_div(e, nb_sum(e));
    return nb_neg(nb_log(nb_at(p, label)));
}

/* diag(p) - p p', against the sweeps' matrix. Returns the largest difference. */
static double jacobian(nb_tape *t)
{
    nb_var z = nb_tensor(t, "z", NB_SHAPE(CLASSES), (double[]){2, 1, -1}), p = nb_softmax(z, 0);
    double y[CLASSES], J[CLASSES][CLASSES], off = 0;
    nb_read(p, y, CLASSES);
    nb_jacobian(1, &p, 1, &z, NB_JACOBIAN_AUTO, *J);
    puts("The Jacobian of softmax at (2, 1, -1), by sweeps and as diag(p) - p p':\n");
    for (int i = 0; i < CLASSES; i++) {
        for (int j = 0; j < CLASSES; j++)
            printf(" %8.5f", J[i][j]);
        printf("    ");
        for (int j = 0; j < CLASSES; j++) {
            const double formula = (i == j ? y[i] : 0) - y[i] * y[j];
            printf(" %8.5f", formula);
            off = fmax(off, fabs(J[i][j] - formula));
        }
        puts("");
    }
    return off;
}

/* One row, step by step on the tape. Returns the largest difference from y-hat minus y. */
static double one_row(nb_tape *t)
{
    const int64_t label = 1;
    nb_var z = nb_tensor(t, "z", NB_SHAPE(CLASSES), (double[]){2, 1, -1}), p = nb_softmax(z, 0);
    nb_backward(naive(z, label));
    double logit[CLASSES], y_hat[CLASSES], g[CLASSES], off = 0;
    nb_read(z, logit, CLASSES);
    nb_read(p, y_hat, CLASSES);
    nb_read_grad(z, g, CLASSES);
    puts("\nOne row, through exp, sum, quotient and log:\n\n"
         "  logit    y-hat  y  y-hat - y  gradient");
    for (int k = 0; k < CLASSES; k++) {
        const double y = k == label;
        printf("%7g  %.5f  %g  %9.5f %9.5f\n", logit[k], y_hat[k], y, y_hat[k] - y, g[k]);
        off = fmax(off, fabs(g[k] - (y_hat[k] - y)));
    }
    return off;
}

/* A batch through the fused block, part of each label spread over all classes. The gradient of the mean is
 * (y-hat - y) / rows. Returns the largest difference, as a multiple of that factor. */
static double batch(nb_tape *t, double smoothing)
{
    static double y_hat[ROWS][MANY], g[ROWS][MANY];
    int64_t label[ROWS];
    nb_rng r = nb_rng_seed(1);
    nb_var z = nb_leaf("z", nb_normal(t, NB_SHAPE(ROWS, MANY), 0, 3, &r));
    for (int i = 0; i < ROWS; i++)
        label[i] = (int64_t)nb_rng_below(&r, MANY);
    nb_read(nb_softmax(z, 1), *y_hat, ROWS * MANY);
    nb_backward(nb_cross_entropy(z, ROWS, label, &(nb_loss_options){.smoothing = smoothing}));
    nb_read_grad(z, *g, ROWS * MANY);
    double off = 0;
    for (int i = 0; i < ROWS; i++)
        for (int k = 0; k < MANY; k++) {
            const double y = (k == label[i] ? 1 - smoothing : 0) + smoothing / MANY;
            off = fmax(off, fabs(ROWS * g[i][k] - (y_hat[i][k] - y)));
        }
    return off;
}

/* Logits of 1000, step by step and fused. True if the fused block has the loss that pen and paper give,
 * and a gradient that is finite; and if the naive one does not. */
static bool large(nb_tape *t, int64_t label)
{
    nb_var z = nb_tensor(t, "z", NB_SHAPE(CLASSES), (double[]){1000, 999, 0});
    nb_var by_steps = naive(z, label), fused = nb_cross_entropy(z, 1, &label, NULL);
    double g[CLASSES];
    nb_backward(fused);
    nb_read_grad(z, g, CLASSES);
    const double paper = log1p(exp(-1)) + (label == 0 ? 0 : 1000);
    printf("  %5d  %5s  %9.5f   %8.5f %8.5f %8.5f\n", (int)label,
           isfinite(nb_value(by_steps)) ? "ok" : "lost", nb_value(fused), g[0], g[1], g[2]);
    return !isfinite(nb_value(by_steps)) && fabs(nb_value(fused) - paper) < 1e-12 * paper &&
           fabs(g[0] - (1 / (1 + exp(-1)) - (label == 0))) < 4e-15 && g[2] == (label == 2 ? -1 : 0);
}

/* Without smoothing the loss falls for ever as the right logit grows; with it there is a best lead over
 * the others, log(y / y'), where y-hat is y. Returns the slope that is left there. */
static double best_lead(nb_tape *t, double smoothing)
{
    const double wrong = smoothing / CLASSES, right = 1 - smoothing + wrong;
    nb_var lead = nb_input(t, "lead", log(right / wrong));
    nb_var row = nb_stack(CLASSES, (nb_var[]){lead, nb_constant(t, 0), nb_constant(t, 0)}, 0);
    nb_backward(
        nb_cross_entropy(row, 1, &(int64_t){0}, &(nb_loss_options){.smoothing = smoothing}));
    printf("\nSmoothed by %g, a lead of %.5f over %d others is enough: slope 0.\n", smoothing,
           nb_value(lead), CLASSES - 1);
    return fabs(nb_grad(lead));
}

int main(void)
{
    nb_tape *t = nb_tape_new(NULL);
    bool good = jacobian(t) < 4e-15;
    good = one_row(t) < 4e-15 && good;

    puts("\nA batch of 64 rows and 10 classes, fused: is the gradient (y-hat - y) / 64?\n");
    for (int k = 0; k < 2; k++) {
        const double smoothing = 0.1 * k, off = batch(t, smoothing);
        printf("  smoothing %.1f: %s\n", smoothing, off < 1e-14 ? "yes, to rounding" : "no");
        good = off < 1e-14 && good;
    }

    puts("\nLogits 1000, 999 and 0:\n\n  label  steps      fused   its gradient");
    good = large(t, 0) && good;
    good = large(t, 2) && good;
    good = best_lead(t, 0.1) < 4e-15 && nb_status(t) == NB_OK && good;
    printf("\n%s\n", nb_status(t) ? nb_message(t) : good ? "All agree." : "They do not agree.");
    nb_tape_free(t);
    return good ? 0 : 1;
}
