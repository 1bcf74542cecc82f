/*
 * nabla/verify.h: is this gradient right?
 *
 *     nb_check_report r;
 *     nb_check_arrays(&(nb_check_plain){.f = f, .g = g, .n = n, .x = x}, NULL, &r);
 *     if (!nb_check_ok(&r))
 *         puts(r.text);
 *
 * A check compares what claims to be a derivative with differences of the function, and says what it
 * knows. A claim is called wrong only if it lies outside the tolerance and outside the error of the
 * differences, at several steps that agree with one another; where differences cannot tell, the
 * verdict is that they cannot, with the reason: noise, a kink, a jump. Right is what was tested and
 * agrees; where nothing could be tested the verdict is not "right". Nor is it where only a sample of
 * the coordinates was tested and no direction through all of them could be decided. Single coordinates
 * may be in doubt beside others that are right: count[] has how many, and the text says so.
 *
 * What it cannot see: among more than all_up_to inputs, a wrong element that has less than the
 * tolerance's share in <g, v>; anything smaller than the rounding inside the function, in a claim of 0
 * or in any other. A function that stops iterating early is another function, with a derivative of its
 * own: set the tolerance to what the iteration leaves.
 *
 * A check does, in this order:
 *
 *     purity       value and gradient twice at the point, and again after others: equal bits
 *     screening    a few random directions through all inputs at once; the remainder of Taylor's
 *                  series shrinks with h^2, with h^3 once the gradient's own change is taken in;
 *                  <u, J v> = <J^T u, v> where there is a forward mode to ask
 *     coordinates  all of them if they are few, else a sample, and the worst that screening finds
 *     localisation for a graph whose gradient is wrong: each node's own rule, at its recorded
 *                  operands, in the order of the sweep
 *     diagnosis    what a wrong gradient has in common with the right one
 *
 * Steps are fitted to each input: a first step relative to its size, then whatever the function asks
 * for. The differences used are those between the arguments as represented.
 *
 * Every check returns its verdict, which is in the report too. Neither report nor options need be
 * given. The library prints nothing; the report's text is for the caller to print.
 */
#ifndef NABLA_VERIFY_H
#define NABLA_VERIFY_H

#include <nabla/op.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- verdicts -------------------------------------------------------------------------------- */

/* verdict, name, what it means; of a coordinate, and of a whole check */
#define NB_VERDICTS(X)                                                                         \
    X(NB_VERDICT_UNTESTED, "not tested", "nothing was tested")                                 \
    X(NB_VERDICT_RIGHT, "right", "the claim agrees with differences within their error")       \
    X(NB_VERDICT_WRONG, "wrong", "the claim is outside the error of differences at all steps") \
    X(NB_VERDICT_NOISY, "too noisy to tell", "the differences' own error is too large")        \
    X(NB_VERDICT_KINK, "kink", "the slopes to the two sides differ, or a winner changes")      \
    X(NB_VERDICT_STEP, "depends on its step", "differences have no limit, as at a jump")       \
    X(NB_VERDICT_NOT_FINITE, "not finite", "a value or the gradient is infinite or NaN")       \
    X(NB_VERDICT_NO_PATH, "no path", "zero, because no path leads there from the result")      \
    X(NB_VERDICT_IMPURE, "not pure", "the same arguments gave different results")              \
    X(NB_VERDICT_CHANGES_INPUTS, "changes its inputs", "a call wrote to its arguments")        \
    X(NB_VERDICT_FAILED, "failed", "the check could not be carried out: see code and message")

#define NBI_VERDICT(verdict, name, text) verdict,
typedef enum nb_verdict { NB_VERDICTS(NBI_VERDICT) NB_VERDICT_COUNT } nb_verdict;
#undef NBI_VERDICT

NB_API const char *nb_verdict_name(nb_verdict v); /* never NULL */
NB_API const char *nb_verdict_text(nb_verdict v); /* one sentence; never NULL */

/* diagnosis, name */
#define NB_DIAGNOSES(X)                                                                 \
    X(NB_DIAGNOSIS_NONE, "none")                                                        \
    X(NB_DIAGNOSIS_SIGN, "sign")                                                        \
    X(NB_DIAGNOSIS_TWICE, "factor 2")                                                   \
    X(NB_DIAGNOSIS_HALF, "factor 1/2")                                                  \
    X(NB_DIAGNOSIS_TIMES_BATCH, "times batch size: sum instead of mean")                \
    X(NB_DIAGNOSIS_OVER_BATCH, "divided by batch size: mean instead of sum")            \
    X(NB_DIAGNOSIS_FACTOR, "a constant factor")                                         \
    X(NB_DIAGNOSIS_TRANSPOSED, "transposed")                                            \
    X(NB_DIAGNOSIS_SHIFTED, "index off by one")                                         \
    X(NB_DIAGNOSIS_OVERWRITTEN, "overwritten instead of added")                         \
    X(NB_DIAGNOSIS_STALE, "value captured too late")                                    \
    X(NB_DIAGNOSIS_ZERO, "a path is dropped: the gradient is zero where it should not") \
    X(NB_DIAGNOSIS_CUT, "a path is cut: a constant depends on the inputs")

#define NBI_DIAGNOSIS(diagnosis, name) diagnosis,
typedef enum nb_diagnosis { NB_DIAGNOSES(NBI_DIAGNOSIS) NB_DIAGNOSIS_COUNT } nb_diagnosis;
#undef NBI_DIAGNOSIS

NB_API const char *nb_diagnosis_name(nb_diagnosis d); /* never NULL */

/* ---- the report ------------------------------------------------------------------------------ */

enum { NB_CHECK_WORST = 10, NB_CHECK_DIRECTIONS = 4 };

/* A node of the graph, by what the recording calls it. */
typedef struct nb_check_place {
    bool found;
    size_t node;    /* its place on the tape (nb_node) */
    int operand;    /* the operand whose derivative is meant; -1: none in particular */
    char op[32];    /* "matmul" */
    char label[32]; /* the name it was given, or "" */
} nb_check_place;

/* One coordinate: element `element` of input `input`, which is number `index` of all elements of all
 * inputs that are not constant, counted through. For products (jvp, hvp) coordinates are the
 * elements of the result instead. */
typedef struct nb_check_coordinate {
    nb_verdict verdict;
    size_t index, input, element;
    double analytic;    /* the claim */
    double numeric;     /* by differences; NaN if there is none */
    double estimate;    /* the error of numeric, estimated: it covers the true one */
    double error;       /* |analytic - numeric| */
    double step;        /* the largest step of the differences that were taken */
    double left, right; /* slopes to the two sides; NaN where not looked at */
    bool between;       /* at a kink: analytic lies between left and right */
    nb_check_place at;  /* the node that has the kink or jump, or is not finite first */
    int evaluations;    /* spent on it */
} nb_check_coordinate;

/* A random direction v through all inputs. */
typedef struct nb_check_direction {
    nb_verdict verdict;
    double analytic, numeric, estimate; /* <g, v> */
    double rate_two;                    /* f(x + h v) - f(x) - h <g, v> shrinks like h to this: 2 */
    double
        rate_three; /* and so it does with the gradient's change taken in: 3; NaN: not measurable */
    double forward; /* <u, J v> by forward mode, to be equal to analytic; NaN: there is none */
} nb_check_direction;

typedef struct nb_check_report {
    nb_verdict verdict;
    nb_diagnosis diagnosis;
    double factor;     /* analytic / numeric, where the diagnosis is a constant factor; else NaN */
    nb_check_place at; /* the first wrong, or not finite, operation in the order of the sweep */
    nb_code code;      /* of what failed; NB_OK otherwise */
    bool stopped;      /* by a budget or by progress: the rest is not tested */
    bool gradient_impure; /* not pure: the gradient, and not the value */
    bool in_float;        /* differences of a float computation, with steps scaled to that */
    bool float_compared;  /* a float gradient was compared with the same in double */
    size_t n, tested;     /* coordinates there are, and those tested */
    size_t count[NB_VERDICT_COUNT]; /* of the coordinates, by their verdict */
    size_t evaluations;             /* of the function, in all */
    size_t gradients;               /* of the claim, in all */
    size_t screening; /* evaluations up to the end of screening, purity and noise included */
    double seconds;
    uint64_t seed;
    size_t n_directions;
    nb_check_direction direction[NB_CHECK_DIRECTIONS];
    size_t n_worst;
    nb_check_coordinate worst[NB_CHECK_WORST]; /* worst first: wrong, then what is in doubt */
    char names[NB_CHECK_WORST][40];            /* of the worst: "w[2 17]" */
    char message[320];                         /* what failed, or one sentence on the diagnosis */
    char text[5120]; /* all of it, to be read: the verdict first, then a table of the worst */
} nb_check_report;

/* Whether the verdict is "right": something was tested, and nothing was wrong. */
NB_API bool nb_check_ok(const nb_check_report *r);

/* The report as a JSON object. Writes at most room bytes, the closing 0 included, and returns how
 * many the whole has without it, as snprintf does. */
NB_API size_t nb_check_json(const nb_check_report *r, char *to, size_t room);

/* ---- options: zero means the default --------------------------------------------------------- */

typedef struct nb_check_progress {
    size_t done, of; /* coordinates */
    size_t evaluations;
    double seconds;
} nb_check_progress;

typedef struct nb_check_options {
    uint64_t seed;    /* of directions, of the sample and of steps */
    double tolerance; /* relative; 1e-7, for what is computed in float 1e-3 */
    int directions;   /* 2; -1: none; NB_CHECK_DIRECTIONS at the most */
    size_t all_up_to; /* this many coordinates are all tested; 512 */
    size_t sample;    /* of more, so many are; 32 */
    size_t suspects;  /* and besides so many of the worst, where screening objects; 8 */
    size_t first,
        count; /* with count: only these coordinates, all of them; screening is left out */
    size_t max_evaluations; /* 0: no bound */
    double max_seconds;     /* 0: no bound */
    int64_t batch;          /* the batch size, for the diagnosis; 0: the inputs' shapes are tried */
    nb_dtype dtype;         /* the tape that is to be right (nb_check_function) */
    bool no_double;         /* do not replay in double */
    /* Called after every coordinate; false ends the check. */
    bool (*progress)(void *context, const nb_check_progress *p);
    void *progress_context;
    /* Receives the coordinates tested, in the order of their index, as far as there is room. */
    nb_check_coordinate *keep;
    size_t keep_room;
    nb_allocator allocator; /* of the check, and of its tapes */
} nb_check_options;

/* ---- what can be checked --------------------------------------------------------------------- */

/* An input and the point: its elements, nb_shape_size(shape) of them. */
typedef struct nb_check_input {
    const char *name;
    nb_shape shape; /* rank -1 makes it a scalar node */
    const double *data;
    bool constant; /* given as it is, not differentiated: a batch, labels */
} nb_check_input;

/* A function recorded on a tape: records its result from the vars in[k] and returns it. It is called
 * many times, on tapes of the check's own, with the inputs moved. A result of several elements is
 * weighted with random numbers. */
typedef nb_var nb_check_build(void *context, nb_tape *t, const nb_var *in);

/* The gradient that nb_backward gives. With options->dtype NB_F32 the function is recorded on a float
 * tape, which is what is to be right, and on a double tape, of which differences are taken: the rules
 * are held to those, and the float gradient to the double one, or where the two are far apart to
 * differences of the float function. Where no double recording can be had, or no_double is set,
 * differences of the float function are taken, with steps scaled to its precision. */
NB_API nb_verdict nb_check_function(nb_check_build *f, void *context, size_t n_in,
                                    const nb_check_input *in, const nb_check_options *options,
                                    nb_check_report *report);

/* The Jacobian times a random direction, as the forward sweep gives it, by elements of the result. */
NB_API nb_verdict nb_check_function_jvp(nb_check_build *f, void *context, size_t n_in,
                                        const nb_check_input *in, const nb_check_options *options,
                                        nb_check_report *report);

/* The Hessian times a random direction, as nb_hvp gives it, against differences of the gradient. */
NB_API nb_verdict nb_check_function_hvp(nb_check_build *f, void *context, size_t n_in,
                                        const nb_check_input *in, const nb_check_options *options,
                                        nb_check_report *report);

/* An operation, at these operands: as nb_check_function of nb_apply. (nb_check_op, in nabla/check.h,
 * holds an operation to all laws, at examples of its own.) */
NB_API nb_verdict nb_check_apply(const nb_op *op, const void *state, size_t bytes, size_t n_in,
                                 const nb_check_input *in, const nb_check_options *options,
                                 nb_check_report *report);

/* Plain arrays, no nabla inside. x has n elements. */
typedef struct nb_check_plain {
    double (*f)(const double *x, size_t n, void *context);
    void (*g)(const double *x, size_t n, double *gradient, void *context);
    /* Optional: the Hessian times v, for the rate of 3. */
    void (*hvp)(const double *x, size_t n, const double *v, double *hv, void *context);
    void *context;
    size_t n;
    const double *x;
    /* Optional: what the n elements are, one after the other, for names and the diagnosis; data and
     * constant are not looked at. */
    size_t n_in;
    const nb_check_input *in;
} nb_check_plain;

NB_API nb_verdict nb_check_arrays(const nb_check_plain *c, const nb_check_options *options,
                                  nb_check_report *report);

/* Plain arrays: y = f(x), and jv = J(x) v. Checked along v, or a random direction if v is NULL. */
typedef struct nb_check_plain_jvp {
    void (*f)(const double *x, size_t n, double *y, size_t m, void *context);
    void (*jvp)(const double *x, size_t n, const double *v, double *jv, size_t m, void *context);
    void *context;
    size_t n, m;
    const double *x, *v;
} nb_check_plain_jvp;

NB_API nb_verdict nb_check_jvp(const nb_check_plain_jvp *c, const nb_check_options *options,
                               nb_check_report *report);

/* Plain arrays: the Hessian times v against differences of the gradient g. */
typedef struct nb_check_plain_hvp {
    void (*g)(const double *x, size_t n, double *gradient, void *context);
    void (*hvp)(const double *x, size_t n, const double *v, double *hv, void *context);
    void *context;
    size_t n;
    const double *x, *v;
} nb_check_plain_hvp;

NB_API nb_verdict nb_check_hvp(const nb_check_plain_hvp *c, const nb_check_options *options,
                               nb_check_report *report);

/* A parameter in memory of the caller's, and where its gradient will be found. */
typedef struct nb_check_parameter {
    const char *name;
    nb_shape shape;
    void *data; /* of the tape's dtype; moved during the check, and left as it was, bit for bit */
    const void *grad; /* where the sweep writes (nb_borrow) */
} nb_check_parameter;

/* A whole model, as it is trained: loss records one step's loss on t, from the parameters in place
 * and a batch that is the same each time, and returns it. Everything it records is forgotten after
 * each call. The gradient is what nb_backward leaves in grad. */
typedef struct nb_check_model_spec {
    nb_tape *tape; /* NULL: one of the check's own, of options->dtype */
    nb_var (*loss)(void *context, nb_tape *t);
    void *context;
    size_t n_parameters;
    const nb_check_parameter *parameter;
} nb_check_model_spec;

NB_API nb_verdict nb_check_model(const nb_check_model_spec *m, const nb_check_options *options,
                                 nb_check_report *report);

#ifdef __cplusplus
}
#endif
#endif
