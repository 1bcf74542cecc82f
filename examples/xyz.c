/*
 * f = (x + y) z at (-2, 5, -4): the smallest graph that shows everything.
 *
 * Recording computes values from left to right. The backward sweep starts with 1 at f and walks
 * back: what arrives at a node, times the local derivative on an edge, is what that edge passes on.
 * The picture shows all of these numbers. Then the gradient is held against central differences,
 *
 *     df/dx = (f(x + h) - f(x - h)) / 2h + O(h^2),
 *
 * which need no derivative rule at all, and so cannot be wrong in the same way.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { X, Y, Z, INPUTS };

static nb_var record(nb_tape *t, const double at[INPUTS], nb_var in[INPUTS])
{
    static const char *name[INPUTS] = {"x", "y", "z"};
    for (int k = 0; k < INPUTS; k++)
        in[k] = nb_input(t, name[k], at[k]);
    return nb_mul(nb_add(in[X], in[Y]), in[Z]);
}

/* The central difference of f by input k, from two recordings that are forgotten again. */
static double difference(nb_tape *t, const double at[INPUTS], int k)
{
    const double h = 1e-5;
    nb_mark mark = nb_tape_mark(t);
    nb_var in[INPUTS];
    double up[INPUTS] = {at[X], at[Y], at[Z]}, down[INPUTS] = {at[X], at[Y], at[Z]};
    up[k] += h;
    down[k] -= h;
    double d = nb_value(record(t, up, in)) - nb_value(record(t, down, in));
    nb_rewind(mark);
    return d / (up[k] - down[k]);
}

int main(void)
{
    static const double at[INPUTS] = {-2, 5, -4}, exact[INPUTS] = {-4, -4, 3};
    nb_tape *t = nb_tape_new(NULL);
    nb_var in[INPUTS], f = record(t, at, in);

    puts("f = (x + y) z. In a box: what it is, its value, and its adjoint, the derivative of f by "
         "it.");
    puts("On an edge: the local derivative.\n");
    nb_backward(f);
    nb_print_graph(stdout, f);

    puts("\n     gradient  difference");
    bool good = nb_value(f) == -12;
    for (int k = 0; k < INPUTS; k++) {
        double numeric = difference(t, at, k);
        printf("  %s  %8g  %10.6f\n", nb_inspect(in[k]).name, nb_grad(in[k]), numeric);
        good = good && nb_grad(in[k]) == exact[k] && fabs(numeric - exact[k]) < 1e-8;
    }
    good = good && nb_status(t) == NB_OK;
    printf("\n%s\n", good ? "They agree." : "They do not agree.");
    nb_tape_free(t);
    return good ? 0 : 1;
}
