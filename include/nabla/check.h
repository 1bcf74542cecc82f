/*
 * nabla/check.h: the laws that every operation obeys, as a test of any record.
 *
 *     nb_law_report report;
 *     if (nb_check_op(&my_op, &report) != NB_OK)
 *         puts(report.text);
 *
 * The op's own examples (nb_op.sample) are what it is held to: each is built on tapes of both
 * element types, again with its inputs moved, shared, misshapen or stale, and what the sweeps say
 * of it is compared with what must be so. An op without examples does not pass.
 */
#ifndef NABLA_CHECK_H
#define NABLA_CHECK_H

#include <nabla/op.h>

#ifdef __cplusplus
extern "C" {
#endif

/* law, name, what it says */
#define NB_LAWS(X)                                                                             \
    X(NB_LAW_EXAMPLES, "examples", "every example is recorded, by the op, without an error")   \
    X(NB_LAW_DIFFERENCES, "differences",                                                       \
      "forward mode agrees with central differences within their own error estimate")          \
    X(NB_LAW_TRANSPOSE, "transpose", "<u, J v> = <J^T u, v>: the two modes are transposed")    \
    X(NB_LAW_SECOND_ORDER, "second order",                                                     \
      "the gradient as a graph is the swept one, and its gradient agrees with differences")    \
    X(NB_LAW_ACCUMULATION, "accumulation",                                                     \
      "a second sweep changes nothing; contributions add up; borrowed gradients are written")  \
    X(NB_LAW_PRECISION, "precision", "float agrees with double within the op's own condition") \
    X(NB_LAW_REFUSAL, "refusal",                                                               \
      "bad shapes and handles are refused with a message and leave the tape usable")

#define NBI_LAW(law, name, text) law,
typedef enum nb_law { NB_LAWS(NBI_LAW) NB_LAW_COUNT } nb_law;
#undef NBI_LAW

NB_API const char *nb_law_name(nb_law law); /* never NULL */
NB_API const char *nb_law_text(nb_law law); /* one sentence; never NULL */

/* A law and an op: how many cases spoke, and what they said. */
typedef struct nb_law_count {
    size_t tried, passed;
    size_t untested; /* cases that could say nothing: differences across a kink, say */
    double worst;    /* the greatest error, as a part of the error that was allowed */
} nb_law_count;

typedef struct nb_law_report {
    nb_law_count law[NB_LAW_COUNT];
    nb_law broken;  /* the law of the first violation; NB_LAW_COUNT if there is none */
    char text[640]; /* of the first violation: op, law, example, operand, element, figures; or "" */
} nb_law_report;

/* Holds op to the laws. report may be NULL. NB_ERR_LAW if one is broken, NB_ERR_ARGUMENT if there
 * is no op or it has no example, NB_ERR_MEMORY if there was none. Laws on derivatives do not
 * concern an op without derivative rules, nor the law of second order one without a rule as graph
 * code. */
NB_API nb_code nb_check_op(const nb_op *op, nb_law_report *report);

#ifdef __cplusplus
}
#endif
#endif
