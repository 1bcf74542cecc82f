/*
 * The bundle of programs_ba.c, for the cases that share it.
 */
#ifndef NABLA_BENCH_PROGRAMS_BA_H
#define NABLA_BENCH_PROGRAMS_BA_H

#include "programs.h"

enum { CAMERAS = 49, POINTS = 7776, SEEN = 31843, CAMERA = 11, ROW = 15, BLOCK = 2 * ROW };
enum { ROTATION = 0, CENTER = 3, FOCUS = 6, PLACE = 7, RADIAL = 9, POINT = 11, WEIGHT = 14 };

typedef struct bundle {
    double *camera, *point, *weight, *feat;
    int64_t *at_camera, *at_point;
    double *e;               /* [SEEN 2], then [SEEN] of the weights */
    double *by_hand, *nabla; /* values: [SEEN 2 15], then [SEEN] */
    nb_program *residual, *weights;
} bundle;

void ba_open(bundle *b);
/* Its programs: Jacobians of an observation's residual, and of its weight's. */
void ba_make(bundle *b);
void ba_close(bundle *b);

#endif
