/*
 * Two interleaved half-circles, told apart by a small network.
 *
 *     h1 = tanh(x W1 + b1),   h2 = tanh(h1 W2 + b2),   s = h2 W3 + b3,   p = sigmoid(s)
 *
 * p is the probability of the upper moon. The loss is the mean cross-entropy. With a label y of +1
 * or -1 it is softplus(-y s), which stays exact where p itself would round to 0 or 1.
 *
 * All parameters lie in one array and their gradients in another, in the same order, so that a step
 * of gradient descent with momentum is one loop. At the end the network is asked about every point
 * of a grid: a map of what it has learned.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { POINTS = 200, HIDDEN = 12, STEPS = 400, COLUMNS = 64, ROWS = 22 };
enum { W1 = 2 * HIDDEN, W2 = HIDDEN * HIDDEN, W3 = HIDDEN };
enum { PARAMETERS = W1 + HIDDEN + W2 + HIDDEN + W3 + 1 };

static void make_moons(double *x, double *label)
{
    const double pi = 3.14159265358979323846;
    nb_rng r = nb_rng_seed(1);
    for (int i = 0; i < POINTS; i++) {
        bool upper = i % 2 == 0;
        double angle = pi * nb_rng_uniform(&r);
        x[2 * i] = (upper ? cos(angle) : 1 - cos(angle)) + 0.1 * nb_rng_normal(&r);
        x[2 * i + 1] = (upper ? sin(angle) : 0.5 - sin(angle)) + 0.1 * nb_rng_normal(&r);
        label[i] = upper ? 1 : -1;
    }
}

/* Weights of variance 1 / inputs, so that tanh starts in the middle of its range; biases 0. */
static void initialise(double *p)
{
    nb_rng r = nb_rng_seed(2);
    for (int k = 0; k < PARAMETERS; k++)
        p[k] = 0;
    for (int k = 0; k < W1; k++)
        p[k] = nb_rng_normal(&r) / sqrt(2);
    for (int k = 0; k < W2; k++)
        p[W1 + HIDDEN + k] = nb_rng_normal(&r) / sqrt(HIDDEN);
    for (int k = 0; k < W3; k++)
        p[W1 + HIDDEN + W2 + HIDDEN + k] = nb_rng_normal(&r) / sqrt(HIDDEN);
}

/* x [n inputs] to x W + b [n outputs]; W and b stand at *p, and *p moves on. */
static nb_var layer(nb_var x, int64_t inputs, int64_t outputs, double **p, double **dp)
{
    nb_var w = nb_borrow(x.tape, "W", NB_SHAPE(inputs, outputs), *p, *dp);
    *p += inputs * outputs;
    *dp = *dp ? *dp + inputs * outputs : NULL;
    nb_var b = nb_borrow(x.tape, "b", NB_SHAPE(outputs), *p, *dp);
    *p += outputs;
    *dp = *dp ? *dp + outputs : NULL;
    return nb_affine(x, w, b);
}

/* x [n 2] to scores [n] */
static nb_var network(nb_var x, double *p, double *dp)
{
    nb_var h1 = nb_tanh(layer(x, 2, HIDDEN, &p, &dp));
    nb_var h2 = nb_tanh(layer(h1, HIDDEN, HIDDEN, &p, &dp));
    return nb_flatten(layer(h2, HIDDEN, 1, &p, &dp));
}

static int count_right(nb_var score, const double *label)
{
    const double *s = nb_data(score);
    int right = 0;
    for (int i = 0; i < POINTS && s; i++)
        right += s[i] * label[i] > 0;
    return right;
}

/* Returns how many points the network gets right in the end. */
static int train(nb_tape *t, const double *x, const double *label, double *p, double *dp)
{
    double speed[PARAMETERS] = {0};
    int right = 0;
    nb_var inputs = nb_borrow_constant(t, NB_SHAPE(POINTS, 2), x);
    nb_var labels = nb_borrow_constant(t, NB_SHAPE(POINTS), label);
    nb_mark start = nb_tape_mark(t);
    for (int step = 0; step <= STEPS; step++) {
        nb_var score = network(inputs, p, dp);
        nb_var loss = nb_mean(nb_softplus(nb_neg(nb_mul(labels, score))));
        if (nb_backward(loss) != NB_OK)
            return 0;
        if (step % 100 == 0) {
            right = count_right(score, label);
            printf("step %3d   loss %.3f   right %3d of %d\n", step, nb_value(loss), right, POINTS);
        }
        nb_rewind(start);
        for (int k = 0; k < PARAMETERS; k++) {
            speed[k] = 0.9 * speed[k] - 0.1 * dp[k];
            p[k] += speed[k];
        }
    }
    return right;
}

/* '#' where the network says upper and '.' where it says lower, points of the moons as 'O' and 'o'.
 */
static void print_map(nb_tape *t, const double *x, const double *label, double *p)
{
    static double grid[ROWS * COLUMNS * 2];
    char map[ROWS][COLUMNS + 1];
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        grid[2 * i] = -1.5 + 4.0 * (i % COLUMNS) / (COLUMNS - 1);
        grid[2 * i + 1] = 1.4 - 2.3 * (i / COLUMNS) / (ROWS - 1);
    }
    bool recording = nb_set_recording(t, false); /* values only */
    nb_var score = network(nb_borrow_constant(t, NB_SHAPE(ROWS * COLUMNS, 2), grid), p, NULL);
    nb_set_recording(t, recording);
    const double *s = nb_data(score);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        map[i / COLUMNS][i % COLUMNS] = !s ? '?' : s[i] > 0 ? ':' : ' ';
    for (int i = 0; i < POINTS; i++) {
        long column = lround((x[2 * i] + 1.5) / 4.0 * (COLUMNS - 1));
        long row = lround((1.4 - x[2 * i + 1]) / 2.3 * (ROWS - 1));
        if (row >= 0 && row < ROWS && column >= 0 && column < COLUMNS)
            map[row][column] = label[i] > 0 ? '#' : 'o';
    }
    for (int row = 0; row < ROWS; row++) {
        map[row][COLUMNS] = 0;
        printf("|%s|\n", map[row]);
    }
}

int main(void)
{
    static double x[2 * POINTS], label[POINTS], p[PARAMETERS], dp[PARAMETERS];
    make_moons(x, label);
    initialise(p);
    nb_tape *t = nb_tape_new(NULL);
    printf("two moons, a network 2-%d-%d-1, %d parameters\n\n", HIDDEN, HIDDEN, PARAMETERS);
    int right = train(t, x, label, p, dp);
    puts("");
    print_map(t, x, label, p);
    bool good = nb_status(t) == NB_OK && right == POINTS;
    if (nb_status(t))
        printf("%s\n", nb_message(t));
    puts(good ? "\nEvery point is on its side." : "\nSome points are on the wrong side.");
    nb_tape_free(t);
    return good ? 0 : 1;
}
