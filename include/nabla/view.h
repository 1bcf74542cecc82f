/*
 * nabla/view.h: the recorded graph, made visible.
 *
 * nb_print_graph draws what a var was computed from, left to right: a box for each node with its
 * name, its value and, after a backward sweep, its adjoint (∂); on each edge between scalars the
 * local derivative. Multiply along a path, add over the paths, and the adjoints come out:
 *
 *     ╭──────╮
 *     │  x   │
 *     │  -2  ├─╮         ╭──────╮
 *     │ ∂ -4 │ ╰─── 1 ──▶│ add  │
 *     ╰──────╯           │  3   ├─ …
 *
 * A graph that does not fit becomes a table of its nodes. nb_print_trace is that table for a whole
 * tape. Neither changes a value or a gradient, and an error already on the tape does not stop them.
 */
#ifndef NABLA_VIEW_H
#define NABLA_VIEW_H

#include <nabla/tape.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zero means the default. A width of one column per character is assumed. */
typedef struct nb_view {
    bool ascii;  /* draw with ASCII characters; otherwise UTF-8 */
    int columns; /* room for the drawing; 100 */
    int rows;    /* 40 */
    size_t most; /* nodes that a table lists before it says how many are left out; 1000 */
} nb_view;

/* Shared nodes are drawn once; tensors are shown by their shape. */
NB_API nb_code nb_print_graph(FILE *to, nb_var f);
NB_API nb_code nb_print_graph_with(FILE *to, nb_var f, const nb_view *view);

/* Every node in the order of the tape. */
NB_API nb_code nb_print_trace(FILE *to, nb_tape *t);
NB_API nb_code nb_print_trace_with(FILE *to, nb_tape *t, const nb_view *view);

#ifdef __cplusplus
}
#endif
#endif
