/*
 * What the two files of the LSTM share; see lstm.c.
 */
#ifndef NABLA_SRC_OPS_LSTM_H
#define NABLA_SRC_OPS_LSTM_H

#include <nabla/op.h>

typedef struct nbi_lstm {
    bool cell; /* the last cell state is a part of the result */
    int64_t steps, n, in, units;
    void *z, *c; /* kept: [steps n 4 units] and [steps n units] */
} nbi_lstm;

/* The reverse rule as graph code. */
nb_code nbi_lstm_reverse(const nb_rule *r);

#endif
