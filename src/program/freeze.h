/*
 * Freezing under way: shared by the walk (freeze.c) and the functions of many scalars (freeze_many.c).
 */
#ifndef NABLA_SRC_FREEZE_H
#define NABLA_SRC_FREEZE_H

#include "program/program.h"
#include "tape/tape.h"

typedef struct nbi_freeze {
    nb_tape *t;
    const nb_recipe *recipe;
    nb_program *p;
    uint32_t low, high; /* the nodes [low, high) of the tape are looked at */
    uint32_t *number;   /* of their nodes in the graph, by place - low */
} nbi_freeze;

/* The graph's node for node i of the tape; NBI_DAG_NONE after an error. */
uint32_t nbi_freeze_operand(nbi_freeze *f, uint32_t i);
/* A function of many scalars (tape/many.c) in terms of rows. */
uint32_t nbi_freeze_many(nbi_freeze *f, uint32_t i);

#endif
