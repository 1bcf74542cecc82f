/*
 * What the hand-written versions of the training benchmark share among their files.
 */
#ifndef NABLA_TRAIN_HAND_H
#define NABLA_TRAIN_HAND_H

#include "kernels/vmath.h"
#include "train.h"

typedef struct convolution convolution;

/* What a version works in; each array as long as the task needs. */
typedef struct hand {
    product_fn *product;
    const nbi_vmath *v;
    float *a[MOST_LAYERS + 1]; /* activations of an MLP; a[0] is the input */
    float *d[2];               /* adjoints of two neighbouring layers, by turns */
    float *gate, *cell, *tanh_cell, *h, *gate_adjoint, *h_adjoint, *cell_adjoint;
    convolution *convolution;
} hand;

float *room(bool *good, int64_t n); /* *good turns false if there is none */

/* d [rows columns] summed over its rows. */
void column_sums(int64_t rows, int64_t columns, const float *d, float *out);
/* Scores z [rows columns] to the adjoints d of the mean loss, which is returned. */
double softmax_loss(int64_t rows, int64_t columns, const float *z, const int64_t *label, float *d);

convolution *convolution_open(const task *k);
double hand_convolution(state *s);
void convolution_close(convolution *c);

#endif
