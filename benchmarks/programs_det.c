/*
 * The determinant of a 9 x 9 matrix by expansion along its first row, recursively down to 1 x 1, and
 * its gradient, the matrix of cofactors.
 *
 * The recursion visits some million minors. Recorded, frozen, these are the few hundred that differ:
 * equal terms are one. By hand the cofactors are 81 minors, expanded likewise.
 */
#include "programs.h"

enum { SIDE = 9, CELLS = SIDE * SIDE, HEAD = SIDE };

typedef struct matrix {
    double *a, f, hand_f, nabla_f;
    double hand_g[CELLS], g[CELLS];
    nb_program *gradient;
} matrix;

/* next: the columns left, a list from next[HEAD] on that ends at HEAD. */
static void all_columns(int *next)
{
    for (int j = 0; j < SIDE; j++)
        next[j] = j + 1;
    next[HEAD] = 0;
}

/* The minor of the rows named and the columns left, as many as rows. */
static double minor_of(const double *a, const int *row, int rows, int *next)
{
    double sum = 0, sign = 1;
    const double *top = a + *row * SIDE;
    if (rows == 1)
        return top[next[HEAD]];
    for (int before = HEAD, j = next[HEAD]; j != HEAD; before = j, j = next[j]) {
        next[before] = next[j];
        sum += sign * top[j] * minor_of(a, row + 1, rows - 1, next);
        next[before] = j;
        sign = -sign;
    }
    return sum;
}

static void primal(void *data)
{
    matrix *m = data;
    int next[SIDE + 1], row[SIDE];
    for (int i = 0; i < SIDE; i++)
        row[i] = i;
    all_columns(next);
    m->f = minor_of(m->a, row, SIDE, next);
}

static void hand(void *data)
{
    matrix *m = data;
    int next[SIDE + 1], row[SIDE];
    all_columns(next);
    for (int i = 0; i < SIDE; i++) {
        for (int k = 0; k < SIDE - 1; k++)
            row[k] = k + (k >= i);
        for (int before = HEAD, j = 0; j < SIDE; before = j++) {
            next[before] = next[j];
            const double minor = minor_of(m->a, row, SIDE - 1, next);
            m->hand_g[i * SIDE + j] = (i + j) % 2 ? -minor : minor;
            next[before] = j;
        }
    }
    m->hand_f = 0;
    for (int j = 0; j < SIDE; j++)
        m->hand_f += m->a[j] * m->hand_g[j];
}

static nb_var record(const nb_var *a, int row, int *next)
{
    const nb_var *top = a + row * SIDE;
    if (row == SIDE - 1)
        return top[next[HEAD]];
    nb_var sum = nb_num(0);
    bool minus = false;
    for (int before = HEAD, j = next[HEAD]; j != HEAD; before = j, j = next[j]) {
        next[before] = next[j];
        nb_var term = nb_mul(top[j], record(a, row + 1, next));
        sum = before == HEAD ? term : minus ? nb_sub(sum, term) : nb_add(sum, term);
        next[before] = j;
        minus = !minus;
    }
    return sum;
}

static void nabla(void *data)
{
    matrix *m = data;
    const nb_lanes in = dense(m->a), out[] = {dense(&m->nabla_f), dense(m->g)};
    programs_run(m->gradient, 1, &in, out);
}

/* Makes the program; the tape's own gradient goes to g. */
static bool make(matrix *m, double *g)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var a[CELLS];
    int next[SIDE + 1];
    all_columns(next);
    programs_inputs(t, CELLS, m->a, a);
    nb_var f = record(a, 0, next);
    const nb_argument in = each("a", CELLS, a);
    const bool ok = nb_backward(f) == NB_OK;
    for (int k = 0; k < CELLS; k++)
        g[k] = nb_grad(a[k]);
    m->gradient = programs_freeze_derived(t, 1, &in, each("f", 1, &f), nb_program_gradient, NULL);
    nb_tape_free(t);
    return ok;
}

bool bench_det(bool quick)
{
    matrix m = {.a = programs_random(CELLS, -1, 1, 7)};
    double g[CELLS];
    bool ok = make(&m, g);
    primal(&m);
    hand(&m);
    nabla(&m);
    ok = ok && bench_agree("det, by hand", 1, &m.hand_f, &m.f, 1e-10) &&
         bench_agree("det", 1, &m.nabla_f, &m.f, 1e-10) &&
         bench_agree("det, gradient", CELLS, m.g, m.hand_g, 1e-10) &&
         bench_agree("det, tape", CELLS, m.g, g, 1e-10);
    if (ok)
        programs_time(&(contest){"det", "<=3.5", &m, primal, hand, nabla}, quick);
    nb_program_free(m.gradient);
    free(m.a);
    return ok;
}
