/*
 * A recurrent network whose matrices are all diagonal: 2 layers, 1024 characters of 7 bits. A layer,
 * with input a, hidden state h and cell c, bit by bit:
 *
 *     c' = c sigmoid(a wf + bf) + sigmoid(h wi + bi) tanh(h wc + bc),
 *     h' = sigmoid(a wo + bo) tanh c',
 *
 * the first's input is x * win, the second's h', and y = h'' * wout + bout predicts the next character
 * g: the loss is the mean over all bits of g (log(2 + sum exp y) - y). Sought is its gradient by the
 * 19 parameters of each bit.
 *
 * Bits meet in the loss only. So they are the lanes of a program of STRIDE steps in time, replayed
 * forwards, and pulled back from the last to the first; in between the loss is a program with the
 * characters as its lanes, whose gradient seeds these.
 */
#include "programs.h"

enum { BITS = 7, LAYERS = 2, PER_LAYER = 8, STRIDE = 11, STEPS = 1023, SMALL = 2 * STRIDE };
enum { W_F, W_I, W_O, W_C, B_F, B_I, B_O, B_C, IN = LAYERS * PER_LAYER, OUT, OUT_BIAS, PARAMETERS };
enum { STATE = 2 * LAYERS }; /* h and c of each layer */

typedef struct network {
    int steps;
    double *p, *start, *x; /* [PARAMETERS BITS], [STATE BITS], [STEPS + 1, BITS] */
    double f, hand_f, nabla_f;
    double *hand_g, *g;    /* [PARAMETERS BITS] */
    double *kept;          /* by hand: per step, layer and bit */
    double *state, *y, *u; /* [STEPS / STRIDE + 1, STATE BITS], [STEPS BITS] twice */
    nb_program *run, *back, *loss;
} network;

/* What the way back needs of a layer at one bit. */
typedef struct cell {
    double a, h, c, f, i, o, g, t; /* inputs, gates, tanh c' */
} cell;

/* ---- in C ------------------------------------------------------------------------------------ */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static cell layer(const double *p, double a, double *h, double *c)
{
    cell k = {.a = a, .h = *h, .c = *c};
    k.f = sigmoid(a * p[W_F * BITS] + p[B_F * BITS]);
    k.i = sigmoid(*h * p[W_I * BITS] + p[B_I * BITS]);
    k.o = sigmoid(a * p[W_O * BITS] + p[B_O * BITS]);
    k.g = tanh(*h * p[W_C * BITS] + p[B_C * BITS]);
    *c = *c * k.f + k.i * k.g;
    k.t = tanh(*c);
    *h = k.o * k.t;
    return k;
}

/* Predictions y of one step; the cells' inner values where kept is given. */
static void step(const network *n, const double *x, double *state, double *y, cell *kept)
{
    const double *p = n->p;
    for (int b = 0; b < BITS; b++) {
        double a = x[b] * p[IN * BITS + b];
        for (int l = 0; l < LAYERS; l++) {
            double *h = state + 2 * l * BITS + b;
            const cell k = layer(p + l * PER_LAYER * BITS + b, a, h, h + BITS);
            if (kept)
                kept[b * LAYERS + l] = k;
            a = *h;
        }
        y[b] = a * p[OUT * BITS + b] + p[OUT_BIAS * BITS + b];
    }
}

static double softplus_sum(const double *y)
{
    double s = 2;
    for (int b = 0; b < BITS; b++)
        s += exp(y[b]);
    return log(s);
}

static double loss_of(const double *y, const double *next, double lse)
{
    double s = 0;
    for (int b = 0; b < BITS; b++)
        s += next[b] * (lse - y[b]);
    return s;
}

static void primal(void *data)
{
    network *n = data;
    double state[STATE * BITS], y[BITS], s = 0;
    memcpy(state, n->start, sizeof state);
    for (int t = 0; t < n->steps; t++) {
        step(n, n->x + t * BITS, state, y, NULL);
        s += loss_of(y, n->x + (t + 1) * BITS, softplus_sum(y));
    }
    n->f = s / (n->steps * BITS);
}

/* Takes dh and dc of a cell's results to those of its h and c, and returns da. */
static double layer_back(const double *p, double *g, const cell *k, double *dh, double *dc)
{
    const double through = *dc + *dh * k->o * (1 - k->t * k->t);
    const double f = through * k->c * k->f * (1 - k->f), i = through * k->g * k->i * (1 - k->i);
    const double o = *dh * k->t * k->o * (1 - k->o), c = through * k->i * (1 - k->g * k->g);
    g[W_F * BITS] += f * k->a, g[B_F * BITS] += f;
    g[W_I * BITS] += i * k->h, g[B_I * BITS] += i;
    g[W_O * BITS] += o * k->a, g[B_O * BITS] += o;
    g[W_C * BITS] += c * k->h, g[B_C * BITS] += c;
    *dh = i * p[W_I * BITS] + c * p[W_C * BITS];
    *dc = through * k->f;
    return f * p[W_F * BITS] + o * p[W_O * BITS];
}

static void step_back(network *n, const double *x, const double *dy, double *d, const cell *kept)
{
    double *g = n->hand_g;
    for (int b = 0; b < BITS; b++) {
        const cell *last = kept + b * LAYERS + LAYERS - 1;
        g[OUT * BITS + b] += dy[b] * last->o * last->t;
        g[OUT_BIAS * BITS + b] += dy[b];
        double da = dy[b] * n->p[OUT * BITS + b];
        for (int l = LAYERS; l-- > 0;) {
            double *dh = d + 2 * l * BITS + b;
            const int at = l * PER_LAYER * BITS + b;
            *dh += da;
            da = layer_back(n->p + at, g + at, kept + b * LAYERS + l, dh, dh + BITS);
        }
        g[IN * BITS + b] += da * x[b];
    }
}

static void hand(void *data)
{
    network *n = data;
    double state[STATE * BITS], d[STATE * BITS] = {0}, y[BITS], s = 0;
    const double over = 1. / (n->steps * BITS);
    cell *kept = (cell *)n->kept;
    double *u = n->u;
    memcpy(state, n->start, sizeof state);
    for (int t = 0; t < n->steps; t++) {
        const double *next = n->x + (t + 1) * BITS;
        step(n, n->x + t * BITS, state, y, kept + t * BITS * LAYERS);
        const double lse = softplus_sum(y);
        double gold = 0;
        s += loss_of(y, next, lse);
        for (int b = 0; b < BITS; b++)
            gold += next[b];
        for (int b = 0; b < BITS; b++)
            u[t * BITS + b] = over * (gold * exp(y[b] - lse) - next[b]);
    }
    n->hand_f = s * over;
    memset(n->hand_g, 0, PARAMETERS * BITS * sizeof *n->hand_g);
    for (int t = n->steps; t-- > 0;)
        step_back(n, n->x + t * BITS, u + t * BITS, d, kept + t * BITS * LAYERS);
}

/* ---- recorded -------------------------------------------------------------------------------- */

/* One step of one bit. */
static nb_var record(const nb_var *p, nb_var x, nb_var *state)
{
    nb_var a = nb_mul(x, p[IN]);
    for (int l = 0; l < LAYERS; l++, p += PER_LAYER) {
        nb_var h = state[2 * l], c = state[2 * l + 1];
        nb_var f = nb_sigmoid(nb_add(nb_mul(a, p[W_F]), p[B_F]));
        nb_var i = nb_sigmoid(nb_add(nb_mul(h, p[W_I]), p[B_I]));
        nb_var o = nb_sigmoid(nb_add(nb_mul(a, p[W_O]), p[B_O]));
        nb_var g = nb_tanh(nb_add(nb_mul(h, p[W_C]), p[B_C]));
        state[2 * l + 1] = nb_add(nb_mul(c, f), nb_mul(i, g));
        state[2 * l] = a = nb_mul(o, nb_tanh(state[2 * l + 1]));
    }
    return nb_add(nb_mul(a, p[OUT - IN]), p[OUT_BIAS - IN]);
}

static nb_var record_loss(const nb_var *y, const nb_var *next)
{
    nb_var s = nb_num(2), f = nb_num(0);
    for (int b = 0; b < BITS; b++)
        s = nb_add(s, nb_exp(y[b]));
    for (int b = 0; b < BITS; b++)
        f = nb_add(f, nb_mul(next[b], nb_sub(nb_log(s), y[b])));
    return nb_mul(f, 1. / BITS);
}

/* x[e BITS + bit], for all e, as inputs. */
static void inputs_of_bit(nb_tape *t, const double *x, int n, int bit, nb_var *in)
{
    for (int e = 0; e < n; e++)
        in[e] = nb_input(t, NULL, x[e * BITS + bit]);
}

static bool eager(const network *n, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var p[BITS][PARAMETERS], state[BITS][STATE], y[BITS], next[BITS], f = nb_num(0);
    for (int b = 0; b < BITS; b++) {
        inputs_of_bit(t, n->p, PARAMETERS, b, p[b]);
        inputs_of_bit(t, n->start, STATE, b, state[b]);
    }
    for (int k = 0; k < n->steps; k++) {
        for (int b = 0; b < BITS; b++) {
            y[b] = record(p[b], nb_constant(t, n->x[k * BITS + b]), state[b]);
            next[b] = nb_constant(t, n->x[(k + 1) * BITS + b]);
        }
        f = nb_add(f, nb_mul(record_loss(y, next), 1. / n->steps));
    }
    const bool ok = nb_backward(f) == NB_OK;
    for (int k = 0; k < PARAMETERS * BITS; k++)
        g[k] = nb_grad(p[k % BITS][k / BITS]);
    nb_tape_free(t);
    return ok;
}

/* ---- programs -------------------------------------------------------------------------------- */

static void make(network *n)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var p[PARAMETERS], state[STATE], end[STATE], x[STRIDE], y[STRIDE], two[2 * BITS];
    nb_reason why;
    inputs_of_bit(t, n->p, PARAMETERS, 0, p);
    inputs_of_bit(t, n->start, STATE, 0, state);
    inputs_of_bit(t, n->x, STRIDE, 0, x);
    memcpy(end, state, sizeof end);
    for (int k = 0; k < STRIDE; k++)
        y[k] = record(p, x[k], end);
    const nb_argument in[] = {each("p", PARAMETERS, p), each("s", STATE, state),
                              each("x", STRIDE, x)};
    const nb_argument out[] = {each("y", STRIDE, y), each("s'", STATE, end)};
    const bool by[] = {true, true, false}, by_y[] = {true, false};
    n->run = programs_made(nb_freeze(&(nb_recipe){.n_in = 3, .in = in, .n_out = 2, .out = out}),
                           NULL, t);
    n->back = programs_made(nb_program_vjp(n->run, by, &why), &why, t);
    programs_inputs(t, 2 * BITS, n->x, two);
    nb_var f = record_loss(two, two + BITS);
    const nb_argument of[] = {each("y", BITS, two), each("next", BITS, two + BITS)};
    n->loss = programs_freeze_derived(t, 2, of, summed("f", 1, &f), nb_program_gradient, by_y);
    nb_tape_free(t);
}

static void nabla(void *data)
{
    network *n = data;
    const int runs = n->steps / STRIDE, span = STRIDE * BITS, whole = STATE * BITS;
    double d[2][STATE * BITS] = {{0}}, part[PARAMETERS * BITS];
    memcpy(n->state, n->start, (size_t)whole * sizeof *n->state);
    for (int r = 0; r < runs; r++) {
        const nb_lanes in[] = {across(n->p, BITS), across(n->state + r * whole, BITS),
                               across(n->x + r * span, BITS)};
        const nb_lanes out[] = {across(n->y + r * span, BITS),
                                across(n->state + (r + 1) * whole, BITS)};
        programs_run(n->run, BITS, in, out);
    }
    const nb_lanes y[] = {dense(n->y), dense(n->x + BITS)};
    const nb_lanes seeds[] = {dense(&n->nabla_f), dense(n->u)};
    programs_run(n->loss, n->steps, y, seeds);
    n->nabla_f /= n->steps;
    memset(n->g, 0, PARAMETERS * BITS * sizeof *n->g);
    for (int r = runs; r-- > 0;) {
        const nb_lanes in[] = {across(n->p, BITS), across(n->state + r * whole, BITS),
                               across(n->x + r * span, BITS), across(n->u + r * span, BITS),
                               across(d[r % 2], BITS)};
        const nb_lanes out[] = {across(part, BITS), across(d[(r + 1) % 2], BITS)};
        if (r == runs - 1)
            memset(d[r % 2], 0, sizeof d[0]);
        programs_run(n->back, BITS, in, out);
        for (int k = 0; k < PARAMETERS * BITS; k++)
            n->g[k] += part[k];
    }
    for (int k = 0; k < PARAMETERS * BITS; k++)
        n->g[k] /= n->steps;
}

/* ---- the case -------------------------------------------------------------------------------- */

static bool right(network *n)
{
    double g[PARAMETERS * BITS];
    primal(n);
    hand(n);
    nabla(n);
    return bench_agree("lstm, by hand", 1, &n->hand_f, &n->f, 1e-12) &&
           bench_agree("lstm", 1, &n->nabla_f, &n->f, 1e-12) &&
           bench_agree("lstm, gradient", PARAMETERS * BITS, n->g, n->hand_g, 1e-11) &&
           (n->steps > SMALL ||
            (eager(n, g) && bench_agree("lstm, tape", PARAMETERS * BITS, n->g, g, 1e-11)));
}

bool bench_lstm(bool quick)
{
    network n = {.p = programs_random(PARAMETERS * BITS, 0, 1, 12),
                 .start = programs_random(STATE * BITS, 0, 1, 13),
                 .x = programs_random((STEPS + 1) * BITS, -1, 1, 14),
                 .hand_g = bench_numbers(2 * PARAMETERS * BITS),
                 .kept = bench_numbers(STEPS * BITS * LAYERS * sizeof(cell) / sizeof(double)),
                 .state = bench_numbers((STEPS / STRIDE + 1) * STATE * BITS),
                 .y = bench_numbers(2 * STEPS * BITS)};
    bool ok = true;
    n.g = n.hand_g + PARAMETERS * BITS;
    n.u = n.y + STEPS * BITS;
    for (int k = 0; k < (STEPS + 1) * BITS; k++)
        n.x[k] = n.x[k] > 0;
    make(&n);
    for (int small = 1; small >= 0; small--) {
        n.steps = small ? SMALL : STEPS;
        ok = right(&n) && ok;
    }
    if (ok)
        programs_time(&(contest){"lstm", "<=2.0", &n, primal, hand, nabla}, quick);
    nb_program *const programs[] = {n.run, n.back, n.loss};
    for (int k = 0; k < 3; k++)
        nb_program_free(programs[k]);
    double *const numbers[] = {n.p, n.start, n.x, n.hand_g, n.kept, n.state, n.y};
    for (int k = 0; k < 7; k++)
        free(numbers[k]);
    return ok;
}
