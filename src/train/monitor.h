/*
 * The monitor, from inside.
 *
 * Layers are the activations that ever were watched; marks are those of the step that is looked at. Rows
 * only ever grow. All that a step needs to record what it did is reserved before it is made, so that
 * after it nothing can fail.
 */
#ifndef NABLA_SRC_TRAIN_MONITOR_H
#define NABLA_SRC_TRAIN_MONITOR_H

#include "base/memory.h"
#include "nn/model.h"
#include <nabla/monitor.h>
#include <stdatomic.h>

typedef struct nbi_unit {
    int64_t silent;       /* looks in succession */
    bool zero, saturated; /* in all rows so far of this look */
} nbi_unit;

typedef struct nbi_layer {
    char *name;         /* "h", "h 2" */
    size_t bytes, base; /* of the name, its 0 included; of the part that the caller gave */
    int64_t repeat;     /* 1, 2 */
    nbi_unit *unit;
    int64_t units;
} nbi_layer;

typedef struct nbi_mark {
    size_t layer;
    nb_var x;
} nbi_mark;

/* An array that grows. */
typedef struct nbi_list {
    void *data;
    size_t count, room;
} nbi_list;

struct nb_monitor {
    nbi_heap heap;
    nb_params *params;
    nb_monitor_options o;
    _Atomic(nb_tape *) tape; /* that is watched: threads on other tapes ask for it */
    bool looking;
    int64_t step;
    nb_code code;         /* of a watch that failed */
    nbi_list layer, mark; /* of nbi_layer, nbi_mark */
    nbi_list row;         /* of nb_monitor_row */
    nbi_list work;        /* of double */
    char *before;         /* the parameters' values before the step */
    char *shot;           /* snapshots of them, [o.snapshots] */
    int64_t *shot_step;
    size_t bytes;                 /* of the parameters' values */
    int64_t shots, stride, looks; /* kept; every stride-th look gives one; looks so far */
};

static inline bool nbi_wants(const nb_monitor *m, nb_monitor_kind kind)
{
    return m->o.kinds >> kind & 1;
}

/* Room for `more` elements behind those there are; false if there is no memory. */
bool nbi_list_reserve(nbi_heap *h, nbi_list *list, size_t more, size_t width);

/* Room for the statistics of n numbers, and for so many rows. */
nb_code nbi_record_reserve(nb_monitor *m, int64_t n, size_t rows, nb_reason *why);
/* The rows of an activation, whose elements are in m->work, of its gradient, and of parameters. */
nb_code nbi_record_activation(nb_monitor *m, const nbi_mark *mark, nb_reason *why);
nb_code nbi_record_slope(nb_monitor *m, const nbi_mark *mark, nb_reason *why);
void nbi_record_gradients(nb_monitor *m);
void nbi_record_updates(nb_monitor *m);
/* Compares the rows from `first` on of that kind, whose ratio is 0, with the last of them. */
void nbi_compare(nb_monitor *m, size_t first, nb_monitor_kind kind);

#endif
