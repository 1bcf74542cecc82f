/*
 * Why one sweep is enough.
 *
 * A network of n layers with two nodes each. The derivative of its output by its input is the sum,
 * over all paths from the one to the other, of the product of the local derivatives along the path.
 * There are 2^n paths, and following every one of them takes 3 2^n - 2 products, even though
 * paths that begin alike are multiplied out only once. But paths share their other ends too: the
 * sum over all ways from node i to the output,
 *
 *     S(i) = sum over the consumers j of i of  S(j) z(i, j),      z(i, j) = dj / di,
 *
 * is the same however i was come upon. Computing S once for every node, from the output back, takes
 * one product per edge: 4n. That is dynamic programming, and it is the backward sweep.
 *
 * This program does both on the same recording and compares: the value, and what it cost.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { MOST_LAYERS = 20 };

/* Each node of a layer is a smooth function of both nodes of the layer before. */
static nb_var record(nb_tape *t, int n, nb_var *x)
{
    *x = nb_input(t, "x", 0.5);
    nb_var a = nb_exp(*x), b = nb_cos(*x);
    for (int k = 1; k < n; k++) {
        nb_var next = nb_hypot(a, b);
        b = nb_atan2(a, b);
        a = next;
    }
    return nb_add(a, b);
}

typedef struct frame {
    nb_var node;
    size_t next;    /* the edge to try next */
    double product; /* of the local derivatives from f to here */
} frame;

typedef struct tally {
    double sum;
    long paths, products;
} tally;

/* Walks every path from f back to x, with a stack of the path it is on. */
static tally enumerate(nb_var f, nb_var x)
{
    frame stack[4 * MOST_LAYERS] = {{f, 0, 1}};
    tally found = {0, 0, 0};
    for (int depth = 0; depth >= 0;) {
        frame *top = &stack[depth];
        if (top->node.index == x.index) {
            found.sum += top->product;
            found.paths++;
            depth--;
        } else if (top->next == nb_inspect(top->node).n_in) {
            depth--;
        } else {
            size_t k = top->next++;
            double product = top->product * nb_partial(top->node, k);
            stack[++depth] = (frame){nb_input_of(top->node, k), 0, product};
            found.products++;
        }
    }
    return found;
}

/* One product per edge between nodes that vary. */
static long count_edges(nb_tape *t)
{
    long edges = 0;
    for (size_t i = 0; i < nb_count(t); i++) {
        nb_info info = nb_inspect(nb_node(t, i));
        for (size_t k = 0; k < info.n_in; k++)
            edges += !nb_inspect(nb_input_of(nb_node(t, i), k)).constant;
    }
    return edges;
}

int main(void)
{
    nb_tape *t = nb_tape_new(NULL);
    bool good = true;
    puts("layers    paths   products by path  in the sweep   df/dx by path  by the sweep");
    for (int n = 1; n <= MOST_LAYERS && good; n++) {
        nb_var x, f = record(t, n, &x);
        tally all = enumerate(f, x);
        nb_backward(f);
        long edges = count_edges(t);
        double error = fabs(all.sum - nb_grad(x));
        printf("%6d  %7ld  %17ld  %12ld  %14.6f  %12.6f\n", n, all.paths, all.products, edges,
               all.sum, nb_grad(x));
        good = all.paths == 1L << n && all.products == (3L << n) - 2 && edges == 4L * n &&
               error <= 1e-12 * (1 + fabs(all.sum)) && nb_status(t) == NB_OK;
        nb_reset(t);
    }
    puts(good ? "\nThe sum over the paths and the sweep agree for every depth."
              : "\nThe sum over the paths and the sweep do not agree.");
    nb_tape_free(t);
    return good ? 0 : 1;
}
