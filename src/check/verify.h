/*
 * A check of a gradient, from inside.
 *
 * A subject is a function R^n -> R^m that can be evaluated, and a claim about its derivative: for a
 * gradient m = 1 and the claim has n numbers; for a product J v it has m, along the one direction v.
 * Everything that is ever measured is a function of one variable,
 *
 *     phi(t) = f(x + t v),    v a coordinate axis or a direction through all inputs,
 *
 * and a number that claims to be phi'(0). verify_line.c takes differences, verify_search.c finds the step for
 * them, verify_judge.c turns them into a verdict. Which lines are looked at is the business of verify_screen.c and verify.c;
 * where f comes from, of the adapters: verify_arrays.c, verify_graph.c, verify_model.c.
 */
#ifndef NABLA_SRC_VERIFY_H
#define NABLA_SRC_VERIFY_H

#include "base/memory.h"
#include "check/laws.h"
#include <nabla/verify.h>

typedef struct nbi_verify nbi_verify;

typedef struct nbi_line {
    const double *v; /* [n], or NULL: */
    size_t axis;     /* along this coordinate alone */
} nbi_line;

/* What an adapter supplies. x is the check's own memory, of which it finds out itself whether a call
 * wrote to it; with `wrote` an adapter tells that a call wrote to inputs elsewhere. False: c->code and
 * message tell. */
typedef struct nbi_subject {
    /* f(x), m numbers. */
    bool (*value)(nbi_verify *c, const double *x, double *y);
    /* The claim at x. y: the value that was computed on the way, where there was one (`swept`). */
    bool (*claim)(nbi_verify *c, const double *x, double *y, double *claim);
    bool swept; /* the claim computes the value as well: it counts as an evaluation */
    /* All below may be NULL. */
    bool (*curvature)(nbi_verify *c, const double *v, double *vhv); /* at the point */
    bool (*forward)(nbi_verify *c, const double *v, double *jv); /* by forward mode, at the point */
    bool (*no_path)(nbi_verify *c, size_t i);                    /* none leads to coordinate i */
    /* The node at which the values along the line have a kink or a jump. */
    void (*bend)(nbi_verify *c, const nbi_line *line, double h, nb_check_place *at);
    /* The first node that is not finite: in value, or in what it passes on. */
    void (*not_finite)(nbi_verify *c, const double *x, bool gradient, nb_check_place *at);
    /* The first node whose own rule is wrong; a diagnosis if it has one. */
    void (*localise)(nbi_verify *c);
} nbi_subject;

/* The inputs as the caller sees them: coordinate at[k] + e is element e of input k. */
typedef struct nbi_block {
    const char *name;
    nb_shape shape;
    size_t at, size, number; /* number: among all inputs, constants too */
} nbi_block;

struct nbi_verify {
    const nbi_subject *s;
    void *self; /* the adapter's */
    nb_check_options o;
    nb_check_report *r;
    nbi_heap heap;
    nbi_arena work;
    size_t n, m;
    bool product;    /* the claim is J v: coordinates are the m results */
    const double *x; /* [n] the point */
    double *at;      /* [n] where f is evaluated; equal to x between evaluations */
    double *sent;    /* [n] what `at` was when the call began */
    double *y, *y0;  /* [m]; y0 = f(x) */
    double *claim;   /* [n], or [m] for a product */
    double *again;   /* as claim: room for a second one */
    double *unit;    /* [n] the size of each input, for first steps */
    double *v;       /* [n] the direction of a product */
    double most;     /* the largest |f(x)| */
    double tol, eps; /* the tolerance, and the unit of the arithmetic of f */
    bool single;     /* arguments are floats */
    int stages;      /* of a table of differences */
    double *direction[NB_CHECK_DIRECTIONS]; /* [n] of screening */
    /* along each, from the coordinates: claim less differences, and how far off that may be */
    double off[NB_CHECK_DIRECTIONS], slack[NB_CHECK_DIRECTIONS];
    nbi_block *block;
    size_t n_block;
    int64_t sizes[16]; /* lengths of axes of what is not differentiated: batches, maybe */
    int n_sizes;
    nb_rng rng;
    bool wrote, ended; /* a call wrote to its inputs; a budget or progress ends the check */
    double began;
    nb_code code;
    size_t done, due; /* coordinates, for progress */
};

/* ---- memory, errors, budgets: verify.c ------------------------------------------------------- */

double *nbi_doubles(nbi_verify *c, size_t n);
bool nbi_check_fail(nbi_verify *c, nb_code code, const char *format, ...) NBI_FORMAT(3, 4);
/* Reads y = f(at), with everything counted and looked at. False: the check is over. */
bool nbi_evaluate(nbi_verify *c, double *y);
bool nbi_claim(nbi_verify *c, double *y, double *claim);
double nbi_seconds(void);
const nbi_block *nbi_block_of(const nbi_verify *c, size_t i);

/* ---- differences: verify_line.c -------------------------------------------------------------- */

/* phi at 0 and at +- h / 2^i, of one result. */
typedef struct nbi_samples {
    int stages;
    double h, zero, plus[NBI_STAGES], minus[NBI_STAGES];
    double rounding; /* what a value may be off for sure: rounding of value and argument */
} nbi_samples;

/* What the samples say. */
typedef struct nbi_slope {
    double value, estimate; /* the derivative, and how far off it may be */
    double noise;           /* the part of the estimate that grows as h shrinks */
    double h;
    double left, right; /* one-sided slopes */
    double bend;        /* right - left as h shrinks; 0 unless it stays */
    double spread;      /* the most that phi moves */
    double sigma;       /* the noise of a value, from the even half of the samples */
    double rounding;    /* what of it is certain */
    bool finite;
    bool mute; /* no sample differs from phi(0) */
} nbi_slope;

/* The nearest step to h whose halves are represented at the point of the line; 0: too small. */
double nbi_step(const nbi_verify *c, const nbi_line *line, double h);
/* Makes `at` x + t v, as represented. */
void nbi_go(nbi_verify *c, const nbi_line *line, double t);
/* f(x + t v) into y [m]. */
bool nbi_along(nbi_verify *c, const nbi_line *line, double t, double *y);
/* Samples of result j of m, all taken at once: s[j]. */
bool nbi_sample_line(nbi_verify *c, const nbi_line *line, double h, int stages, nbi_samples *s);
/* floor: noise that is known of. */
nbi_slope nbi_slope_of(const nbi_samples *s, double floor);

/* ---- steps: verify_search.c ------------------------------------------------------------------ */

/* The size of a step that is worth a try first: 1 along a direction. */
double nbi_line_unit(const nbi_verify *c, const nbi_line *line);
/* Whether the estimate is small beside what it is to decide; and whether it then excludes the claim. */
bool nbi_resolved(const nbi_verify *c, const nbi_line *line, const nbi_slope *s, double claim);
bool nbi_differs(const nbi_verify *c, const nbi_slope *s, double claim);

/* A plain difference, and what else two values tell. */
typedef struct nbi_rung {
    double h, slope, left, right, step, even, most;
    bool mute; /* nothing moved */
} nbi_rung;
bool nbi_look(nbi_verify *c, const nbi_line *line, size_t j, double h, nbi_rung *to);

/* The slope of result j at the step that suits it best, from step h on and below `top`. before: the
 * slope that was measured before, or 0. False: the check is over. */
bool nbi_search(nbi_verify *c, const nbi_line *line, size_t j, double claim, double before,
                double h, double top, nbi_slope *best);
/* The same without a bound. */
bool nbi_measure(nbi_verify *c, const nbi_line *line, size_t j, double claim, double h,
                 nbi_slope *best);

/* ---- verdicts: verify_judge.c ---------------------------------------------------------------- */

/* Fills in the verdict and the figures of `to`. False: the check is over. */
bool nbi_judge(nbi_verify *c, const nbi_line *line, size_t j, double claim,
               nb_check_coordinate *to);

/* ---- the order of a check -------------------------------------------------------------------- */

bool nbi_purity(nbi_verify *c);
bool nbi_screen(nbi_verify *c);
bool nbi_pure_after(nbi_verify *c);
/* Adds to list, which has `count` entries and room for more, coordinates that screening accuses. */
bool nbi_suspects(nbi_verify *c, size_t *list, size_t *count, size_t room);
void nbi_diagnose(nbi_verify *c);
/* What n pairs of a wrong number and the right one, which is off by estimate[k], have in common: a
 * diagnosis of a factor, and the factor. */
nb_diagnosis nbi_ratio_says(const nbi_verify *c, size_t n, const double *wrong, const double *right,
                            const double *estimate, double *factor);

/* Runs the check on a subject: the fields s, self, n, m, product, x, v, block, eps and single are set. */
nb_verdict nbi_check_run(nbi_verify *c);
void nbi_check_open(nbi_verify *c, const nb_check_options *options, nb_check_report *report);
nb_verdict nbi_check_close(nbi_verify *c);

/* ---- text: verify_text.c --------------------------------------------------------------------- */

void nbi_check_write(nbi_verify *c);
/* "w[2 17]" */
void nbi_coordinate_name(const nbi_verify *c, size_t i, char *to, size_t room);

#endif
