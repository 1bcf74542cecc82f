/*
 * Functions of one variable that are hard on differences, with their derivatives.
 *
 * Each is written as one would write it without care, so that rounding and cancellation are what they
 * are in practice; its slope is written by another formula, without cancellation. k is the parameter
 * that makes it hard: a rate, a distance to a kink, an offset that swallows digits. Points z are drawn
 * from [low, high] on a scale of powers of ten, k likewise.
 */
#ifndef NABLA_TESTS_HARD_SHAPES_H
#define NABLA_TESTS_HARD_SHAPES_H

#include <math.h>

static double wave_f(double z, double k) { return sin(k * z); }
static double wave_d(double z, double k) { return k * cos(k * z); }

static double grow_f(double z, double k) { return exp(k * z); }
static double grow_d(double z, double k) { return k * exp(k * z); }

static double bell_f(double z, double k) { return 1 / (1 + k * k * z * z); }
static double bell_d(double z, double k) { return -2 * k * k * z * pow(1 + k * k * z * z, -2); }

static double tanh_f(double z, double k) { return tanh(k * z); }
static double tanh_d(double z, double k) { return k * pow(cosh(k * z), -2); }

static double cubic_f(double z, double k) { return z * z * z - k * z; }
static double cubic_d(double z, double k) { return 3 * z * z - k; }

static double pit_f(double z, double k) { return log(z * z + k); }
static double pit_d(double z, double k) { return 2 * z / (z * z + k); }

static double bowl_f(double z, double k) { return z > 0 ? k * z * z : 0; }
static double bowl_d(double z, double k) { return 2 * k * z; }

/* Kinks and jumps at a distance k. */
static double near_f(double z, double k) { return fabs(z - 1 - k) + z * z; }
static double near_d(double z, double k) { return (z - 1 > k ? 1 : -1) + 2 * z; }

static double leak_f(double z, double k) { return fmax(z - 1 + k, 0.3 * (z - 1 + k)) + sin(z); }
static double leak_d(double z, double k) { return (z - 1 > -k ? 1 : 0.3) + cos(z); }

static double stair_f(double z, double k) { return floor(z + k) + z; }

static double stair_d(double z, double k)
{
    (void)z, (void)k;
    return 1;
}

/* Cancellation. */
static double log_f(double z, double k) { return log(1 + k * z); }
static double log_d(double z, double k) { return k / (1 + k * z); }

static double root_f(double z, double k) { return sqrt(z + k) - sqrt(k); }
static double root_d(double z, double k) { return 0.5 / sqrt(z + k); }

static double versed_f(double z, double k) { return (1 - cos(k * z)) / (k * z * k * z); }

static double versed_d(double z, double k)
{
    const double w = k * z, w2 = w * w;
    return k * w * (-1 / 12.0 + w2 / 180 - w2 * w2 / 6720 + w2 * w2 * w2 / 453600);
}

static double seventh_f(double z, double k)
{
    (void)k;
    return ((((((z - 7) * z + 21) * z - 35) * z + 35) * z - 21) * z + 7) * z - 1;
}

static double seventh_d(double z, double k)
{
    (void)k;
    return 7 * pow(z - 1, 6);
}

static double offset_f(double z, double k) { return (sin(z) + k) - k; }

static double offset_d(double z, double k)
{
    (void)k;
    return cos(z);
}

/* Plateaus. */
static double flat_f(double z, double k) { return exp(-k / (z * z)); }
static double flat_d(double z, double k) { return 2 * k / (z * z * z) * exp(-k / (z * z)); }

static double logistic_f(double z, double k) { return 1 / (1 + exp(-k * z)); }
static double logistic_d(double z, double k) { return k / (2 + 2 * cosh(k * z)); }

static double gauss_f(double z, double k) { return exp(-k * z * z); }
static double gauss_d(double z, double k) { return -2 * k * z * exp(-k * z * z); }

/* High curvature. */
static double wild_f(double z, double k) { return z * z * z * z * sin(k / z); }

static double wild_d(double z, double k)
{
    return 4 * z * z * z * sin(k / z) - k * z * z * cos(k / z);
}

static double cusp_f(double z, double k) { return k * pow(fabs(z), 1.5); }
static double cusp_d(double z, double k) { return 1.5 * k * sqrt(z); }

static double sqrt_f(double z, double k) { return sqrt(k * z); }
static double sqrt_d(double z, double k) { return 0.5 * sqrt(k / z); }

static double bend_f(double z, double k) { return sqrt((z - 1) * (z - 1) + k * k); }
static double bend_d(double z, double k) { return (z - 1) / hypot(z - 1, k); }

static double turn_f(double z, double k) { return atan(k * (z - 1)); }
static double turn_d(double z, double k) { return k / (1 + k * (z - 1) * (k * (z - 1))); }

typedef struct shape {
    double (*f)(double z, double k), (*d)(double z, double k);
    double low, high, k_low, k_high; /* powers of ten */
} shape;

enum { SMOOTH = 7, NEAR_FIRST = 7, CANCEL_FIRST = 10, FLAT_FIRST = 15, CURVED_FIRST = 18 };

static const shape shapes[] = {
    {wave_f, wave_d, -2, 0.5, -1, 1},
    {grow_f, grow_d, -2, 0.5, -1, 1},
    {bell_f, bell_d, -2, 0.5, -1, 1},
    {tanh_f, tanh_d, -2, 0, -1, 0.5},
    {cubic_f, cubic_d, -2, 1, -1, 1},
    {pit_f, pit_d, -2, 1, -3, 0},
    {bowl_f, bowl_d, -3, 1, -1, 1},
    /* near a kink or a jump */
    {near_f, near_d, 0, 0, -9, -1},
    {leak_f, leak_d, 0, 0, -9, -1},
    {stair_f, stair_d, 0, 0, -6, -1},
    /* cancellation */
    {log_f, log_d, -3, 0, -8, 0},
    {root_f, root_d, -2, 2, 2, 13},
    {versed_f, versed_d, -2, 0, -2, -0.3},
    {seventh_f, seventh_d, -0.3, 0.3, 0, 0},
    {offset_f, offset_d, -2, 0, 2, 9},
    /* plateaus */
    {flat_f, flat_d, -1.3, 0, -2, 0},
    {logistic_f, logistic_d, -1, 1, 0, 2},
    {gauss_f, gauss_d, -1, 1, -1, 1.5},
    /* high curvature */
    {wave_f, wave_d, -1, 1, 2, 6},
    {wild_f, wild_d, -2, 0, -1, 1},
    {cusp_f, cusp_d, -8, 0, -1, 1},
    {sqrt_f, sqrt_d, -12, 0, -1, 1},
    {bend_f, bend_d, -0.1, 0.1, -6, -1},
    {turn_f, turn_d, -0.1, 0.1, 1, 4},
};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

#endif
