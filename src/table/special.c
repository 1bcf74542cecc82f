/*
 * The gamma family.
 *
 * digamma psi(x) is computed in one of three ways. At x >= 10 by the asymptotic series
 *     psi(x) ~ log x - 1/(2x) - sum of B(2k) / (2k x^2k).
 * Between 0 and 10 by steps psi(x+1) = psi(x) + 1/x to the neighbourhood of its zero x0 = 1.46...,
 * where it is x - x0 times a polynomial, with x0 split in two doubles so that nothing cancels. Left
 * of 0 by reflection, psi(x) = psi(1-x) - pi / tan(pi x), the tangent taken of x less its nearest
 * integer.
 *
 * Its n-th derivative is (-1)^s gamma(s) zeta(s, x) with s = n + 1 and Hurwitz's zeta
 *     zeta(s, q) = 1/q^s + 1/(q+1)^s + 1/(q+2)^s + ...,
 * whose head is summed and whose tail from a = q + m on is, by Euler and Maclaurin,
 *     a^-s (a/(s-1) + 1/2 + sum of B(2j)/(2j)! s (s+1) ... (s+2j-2) a^(1-2j)).
 * For negative x the terms left and right of 0 are two such sums with positive arguments, which is
 * the reflection formula without derivatives of the cotangent.
 */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* lgamma_r: lgamma itself writes the global signgam */
#endif
#include "table/special.h"

#include <math.h>
#include <stddef.h>

/* The functions below are also printed, section by section, into C files that need them. */

/* ---- lgamma ---------------------------------------------------------------------------------- */

double nbi_lgamma(double x) {
    int sign;
    return lgamma_r(x, &sign);
}

/* ---- digamma --------------------------------------------------------------------------------- */

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const double pi = 3.14159265358979323846;
static const double infinity = (double)INFINITY, not_a_number = (double)NAN;

/* c[0] + c[1] u + c[2] u^2 + ... */
static double polynomial(const double *c, size_t n, double u) {
    double sum = 0;
    for (size_t i = n; i-- > 0;) {
        sum = sum * u + c[i];
    }
    return sum;
}

static double digamma_asymptotic(double x) {
    static const double b[] = {1.0 / 12,  -1.0 / 120,     1.0 / 252, -1.0 / 240,
                               1.0 / 132, -691.0 / 32760, 1.0 / 12,  -3617.0 / 8160};
    double u = 1 / (x * x);
    return log(x) - (0.5 / x + u * polynomial(b, COUNT(b), u));
}

static const double digamma_zero = 1.4616321449683622, digamma_zero_low = 9.549995429965697715e-17;

/* psi(x) for |x - digamma_zero| <= 1/2: psi(x) / (x - zero) is fitted to 2^-59 */
static double digamma_near_zero(double x) {
    static const double c[] = {
        0.96767224544762117,     -0.442763168983592106,   0.258499760955651894,
        -0.163942705442407132,   0.107824050691094209,    -0.0721995612563396638,
        0.0488042881766509809,   -0.0331611264834048268,  0.0225976477525902685,
        -0.0154247655768036865,  0.0105388024395317336,   -0.00720454179103527754,
        0.00492662711101840791,  -0.00336969609901689433, 0.00230656706508346291,
        -0.00157792247625970323, 0.00106991753021112189,  -0.00073197660897252293,
        0.00054086554027845553,  -0.00037003799780105289, 0.000146843690763622778,
        -0.00010046489379880724, 0.00023074936133772155,  -0.000157870876701015097,
    };
    double d = (x - digamma_zero) - digamma_zero_low;
    return d * polynomial(c, COUNT(c), d);
}

static double digamma_positive(double x) {
    if (x >= 10) {
        return digamma_asymptotic(x);
    }
    double steps = 0;
    for (; x < 1; x += 1) {
        steps -= 1 / x;
    }
    for (; x - digamma_zero > 0.5; x -= 1) {
        steps += 1 / (x - 1);
    }
    return steps + digamma_near_zero(x);
}

double nbi_digamma(double x) {
    if (x == 0) {
        return -copysign(infinity, x);
    }
    if (x > 0 || isnan(x)) {
        return digamma_positive(x);
    }
    double rest = x - round(x);
    if (rest == 0 || isinf(x)) {
        return not_a_number;
    }
    return digamma_positive(1 - x) - pi / tan(pi * rest);
}

/* ---- polygamma ------------------------------------------------------------------------------- */

/* gamma(s) / q^s, also where one of the two factors leaves the range of a double */
static double gamma_over_power(double s, double q) {
    double gamma = tgamma(s), power = pow(q, -s);
    if (isfinite(gamma) && isfinite(power) && power > 0) {
        return gamma * power;
    }
    return exp(nbi_lgamma(s) - s * log(q));
}

/* gamma(s) zeta(s, q) for s >= 2, q > 0, the zeta summed in units of its first term. Below s/2 each
 * term is less than a seventh of the one before, so the first that adds nothing ends the sum. */
static double gamma_zeta(double s, double q) {
    static const double b[] = {1.0 / 12,          -1.0 / 720,
                               1.0 / 30240,       -1.0 / 1209600,
                               1.0 / 47900160,    -691.0 / 1307674368000,
                               1.0 / 74724249600, -3617.0 / 10670622842880000};
    if (isinf(q)) {
        return 0;
    }
    double head = 0, a = q, first = 12 + s / 2;
    for (; a < first; a += 1) {
        const double term = pow(q / a, s);
        head += term;
        if (a < s / 2 && term < head * 0x1p-60) {
            return gamma_over_power(s, q) * head;
        }
    }
    double tail = a / (s - 1) + 0.5, factor = s / a;
    for (size_t j = 0; j < COUNT(b); j++) {
        double k = 2 * (double)j + 1;
        tail += b[j] * factor;
        factor *= (s + k) / a * ((s + k + 1) / a);
    }
    if (head == 0) { /* q is large: q^s may overflow where q^(s-1) does not */
        return gamma_over_power(s - 1, q) * (s - 1) * (tail / q);
    }
    return gamma_over_power(s, q) * (head + pow(q / a, s) * tail);
}

/* the sum of gamma(s) / (x+k)^s over k = 0, 1, 2, ... for x < 0, times (-1)^s */
static double polygamma_negative(double x, double s, double sign) {
    double right = gamma_zeta(s, x - floor(x));
    double left = gamma_zeta(s, ceil(x) - x) - gamma_zeta(s, 1 - x);
    return sign * right + left;
}

double nbi_polygamma(double x, double n) {
    if (!(n >= 0) || isinf(n) || n != floor(n) || isnan(x)) {
        return not_a_number;
    }
    if (n == 0) {
        return nbi_digamma(x);
    }
    double s = n + 1, sign = fmod(s, 2) == 0 ? 1 : -1;
    if (x > 0) {
        return sign * gamma_zeta(s, x);
    }
    if (x == floor(x)) {
        double even = x == 0 ? -copysign(infinity, x) : not_a_number;
        return sign > 0 && !isinf(x) ? infinity : even;
    }
    return polygamma_negative(x, s, sign);
}
