/*
 * Exclusive or: what one neuron cannot learn, and three can.
 *
 * A perceptron says 1 where s(x) = <w, x> + b is above 0. For any such s, as it is linear,
 *
 *     s(0,0) + s(1,1) = s(0,1) + s(1,0)
 *
 * Exclusive or wants both terms on the left at most 0 and both on the right above 0, which cannot be. So
 * Rosenblatt's rule, w += (target - said) x, which finds a line wherever there is one, learns "and" within a
 * few rounds, and walks for ever on "xor".
 *
 * A layer in between moves the four corners to where a line can part them:
 *
 *     h = tanh(x W + b)  [2],    p = sigmoid(h v + c)
 *
 * Its loss, the cross-entropy, has a gradient everywhere, and descent finds the layer by itself. With two
 * units, the fewest that will do, about every second start ends on a plateau at log(2) / 2 instead, two
 * rows right and two undecided (try the seed 1); with three units there is room enough to go around it.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { ROWS = 4, ROUNDS = 100, STEPS = 300, REPORT = 60 };

static const double corner[ROWS][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
static const double and_of[ROWS] = {0, 0, 0, 1}, xor_of[ROWS] = {0, 1, 1, 0};

/* ---- one neuron ------------------------------------------------------------------------------ */

/* How many rows the step is right on, 0 or 1 as it is. */
static int rows_right(nb_var said, const double *target)
{
    int right = 0;
    const double *s = nb_data(said);
    for (int i = 0; i < ROWS && s; i++)
        right += s[i] == target[i];
    return right;
}

/* Rounds of Rosenblatt's rule over the four rows at once; returns the most rows that were right. */
static int perceptron(nb_tape *t, const char *name, const double *target)
{
    double w[3] = {0}, g[3]; /* the last one is b */
    int best = 0, round = 0;
    nb_mark start = nb_tape_mark(t);
    for (; round < ROUNDS && best < ROWS; round++) {
        nb_var x = nb_constant_tensor(t, NB_SHAPE(ROWS, 2), *corner);
        nb_var y = nb_constant_tensor(t, NB_SHAPE(ROWS), target);
        nb_var s = nb_add(nb_matmul(x, nb_borrow(t, "w", NB_SHAPE(2), w, g)),
                          nb_borrow(t, "b", NB_SHAPE(1), w + 2, g + 2));
        const int right = rows_right(nb_step(s), target);
        best = right > best ? right : best;
        if (nb_backward(nb_perceptron_loss(s, y, &(nb_loss_options){.reduction = NB_REDUCE_SUM})))
            return -1;
        nb_rewind(start);
        for (int k = 0; k < 3; k++)
            w[k] -= g[k];
    }
    printf("perceptron, %s: at best %d of %d rows right, %d rounds\n", name, best, ROWS, round);
    return best;
}

/* ---- two layers ------------------------------------------------------------------------------ */

typedef struct network {
    nb_linear_layer hidden, out;
} network;

static nb_var moved(const network *n, const nb_pass *m, nb_var x)
{
    return nb_linear_apply(&n->hidden, m, x, nb_tanh);
}

static nb_var score(const network *n, const nb_pass *m, nb_var h)
{
    return nb_flatten(nb_linear_apply(&n->out, m, h, NULL));
}

/* Prints the network's opinion on each row, and where the row was moved to; returns the largest error. */
static double truth_table(nb_tape *t, nb_params *p, const network *n)
{
    double worst = 0;
    nb_mark start = nb_tape_mark(t);
    nb_pass m = nb_evaluation_pass(p, t);
    nb_var h = moved(n, &m, nb_constant_tensor(t, NB_SHAPE(ROWS, 2), *corner));
    nb_var said = nb_sigmoid(score(n, &m, h));
    puts("\n  x0  x1  xor  moved to         network");
    for (int i = 0; i < ROWS; i++) {
        const double y = nb_value(nb_at(said, i));
        printf("%4g %3g %4g  (%5.2f, %5.2f) %8.3f\n", corner[i][0], corner[i][1], xor_of[i],
               nb_value(nb_at(h, i, 0)), nb_value(nb_at(h, i, 1)), y);
        worst = fmax(worst, fabs(y - xor_of[i]));
    }
    nb_rewind(start);
    puts("");
    return worst;
}

/* The loop by hand: a pass, a loss, a sweep, a step, a rewind. Returns the last loss. */
static double train(nb_tape *t, nb_params *p, const network *n, nb_optim *o)
{
    double last = HUGE_VAL;
    nb_mark start = nb_tape_mark(t);
    for (int step = 0; step <= STEPS; step++) {
        nb_pass m = nb_training_pass(p, t, NULL);
        nb_var x = nb_constant_tensor(t, NB_SHAPE(ROWS, 2), *corner);
        nb_var y = nb_constant_tensor(t, NB_SHAPE(ROWS), xor_of);
        nb_var loss = nb_logistic_loss(score(n, &m, moved(n, &m, x)), y, NULL);
        nb_reason why;
        last = nb_value(loss);
        if (step % REPORT == 0)
            printf("step %3d  loss %.4f\n", step, last);
        if (nb_backward(loss) || nb_optim_step(o, &why))
            return HUGE_VAL;
        nb_rewind(start);
    }
    return last;
}

int main(void)
{
    nb_tape *t = nb_tape_new(NULL);
    const bool line = perceptron(t, "and", and_of) == ROWS;
    const bool no_line = perceptron(t, "xor", xor_of) < ROWS;

    nb_params *p = nb_params_new(NULL);
    nb_rng r = nb_rng_seed(3);
    const network n = {.hidden = nb_linear_new(p, "hidden", 2, 2, NULL, &r),
                       .out = nb_linear_new(p, "out", 2, 1, NULL, &r)};
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_MOMENTUM), .rate = 0.2}, NULL);
    puts("");
    nb_params_print(stdout, p);
    const double before = truth_table(t, p, &n), loss = train(t, p, &n, o);
    const double after = truth_table(t, p, &n);

    const bool good =
        line && no_line && before > 0.3 && loss < 0.01 && after < 0.02 && !nb_status(t);
    puts(good           ? "A line parts \"and\"; \"xor\" takes a layer in between."
         : nb_status(t) ? nb_message(t)
                        : "It was not learned.");
    nb_optim_free(o);
    nb_params_free(p);
    nb_tape_free(t);
    return good ? 0 : 1;
}
