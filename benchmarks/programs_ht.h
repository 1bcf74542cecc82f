/*
 * What the two files of the case `ht` share: the hand and its points (programs_ht.c says what they
 * mean), and the part that is written with nabla (programs_ht_record.c).
 */
#ifndef NABLA_BENCH_PROGRAMS_HT_H
#define NABLA_BENCH_PROGRAMS_HT_H

#include "programs.h"

enum { BONES = 22, POSE = 26, POINTS = 1000 };

typedef struct hand_model {
    int parent[BONES]; /* -1 for the first; else before the bone */
    double theta[POSE], place[12 * BONES], rest[12 * BONES];
    double *vertex, *point, *weight; /* [POINTS 3] twice, [POINTS BONES] */
    double *e;                       /* [POINTS 3] */
    double *by_hand, *nabla;         /* [POINTS 3 POSE] */
    nb_program *jacobian;
} hand_model;

void hand_make(hand_model *m);
void hand_nabla(void *model);
/* The tape's own rows of point p. */
bool hand_eager(const hand_model *m, int p, double *J);

#endif
