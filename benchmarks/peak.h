/*
 * The machine's peak: the rate of a loop of fused multiply-adds that touches no memory, for each
 * instruction set.
 */
#ifndef NABLA_BENCH_PEAK_H
#define NABLA_BENCH_PEAK_H

#include "bench.h"
#include "kernels/cpu.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { CHAINS = 16, TURNS = 20000 };

/* Each runs TURNS x CHAINS fused multiply-adds and returns the floating-point operations
 * that makes; the sums go to `sink` so that they are computed. */
#if defined(__x86_64__)
__attribute__((target("avx512f"))) static double fma_avx512(bool is_double, void *sink)
{
    __m512 s[CHAINS];
    __m512d d[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        s[i] = _mm512_setzero_ps(), d[i] = _mm512_setzero_pd();
    const __m512 x = _mm512_set1_ps(0.5F);
    const __m512d y = _mm512_set1_pd(0.5);
    for (int t = 0; t < TURNS && !is_double; t++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            s[i] = _mm512_fmadd_ps(s[i], x, x);
    for (int t = 0; t < TURNS && is_double; t++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            d[i] = _mm512_fmadd_pd(d[i], y, y);
    if (is_double)
        memcpy(sink, d, sizeof d);
    else
        memcpy(sink, s, sizeof s);
    return 2.0 * CHAINS * TURNS * (is_double ? 8 : 16);
}

__attribute__((target("avx2,fma"))) static double fma_avx2(bool is_double, void *sink)
{
    enum { FEW = 12 }; /* of 16 registers */
    __m256 s[FEW];
    __m256d d[FEW];
    for (int i = 0; i < FEW; i++)
        s[i] = _mm256_setzero_ps(), d[i] = _mm256_setzero_pd();
    const __m256 x = _mm256_set1_ps(0.5F);
    const __m256d y = _mm256_set1_pd(0.5);
    for (int t = 0; t < TURNS && !is_double; t++)
#pragma GCC unroll 12
        for (int i = 0; i < FEW; i++)
            s[i] = _mm256_fmadd_ps(s[i], x, x);
    for (int t = 0; t < TURNS && is_double; t++)
#pragma GCC unroll 12
        for (int i = 0; i < FEW; i++)
            d[i] = _mm256_fmadd_pd(d[i], y, y);
    if (is_double)
        memcpy(sink, d, sizeof d);
    else
        memcpy(sink, s, sizeof s);
    return 2.0 * FEW * TURNS * (is_double ? 4 : 8);
}
#elif defined(__aarch64__)
static double fma_neon(bool is_double, void *sink)
{
    float32x4_t s[CHAINS];
    float64x2_t d[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        s[i] = vdupq_n_f32(0), d[i] = vdupq_n_f64(0);
    const float32x4_t x = vdupq_n_f32(0.5F);
    const float64x2_t y = vdupq_n_f64(0.5);
    for (int t = 0; t < TURNS && !is_double; t++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            s[i] = vfmaq_f32(x, s[i], x);
    for (int t = 0; t < TURNS && is_double; t++)
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++)
            d[i] = vfmaq_f64(y, d[i], y);
    if (is_double)
        memcpy(sink, d, sizeof d);
    else
        memcpy(sink, s, sizeof s);
    return 2.0 * CHAINS * TURNS * (is_double ? 2 : 4);
}
#endif

/* Without fused instructions: a multiplication and an addition, 16 bytes wide. */
static double fma_plain(bool is_double, void *sink)
{
    enum { FEW = 12 };
    typedef float quad __attribute__((vector_size(16)));
    typedef double pair __attribute__((vector_size(16)));
    quad s[FEW] = {{0}};
    pair d[FEW] = {{0}};
    for (int t = 0; t < TURNS && !is_double; t++)
#pragma GCC unroll 12
        for (int i = 0; i < FEW; i++)
            s[i] = s[i] * 0.5F + 0.5F;
    for (int t = 0; t < TURNS && is_double; t++)
#pragma GCC unroll 12
        for (int i = 0; i < FEW; i++)
            d[i] = d[i] * 0.5 + 0.5;
    if (is_double)
        memcpy(sink, d, sizeof d);
    else
        memcpy(sink, s, sizeof s);
    return 2.0 * FEW * TURNS * (is_double ? 2 : 4);
}

static inline double fma_loop(nbi_isa isa, bool is_double, void *sink)
{
#if defined(__x86_64__)
    if (isa == NBI_ISA_AVX512)
        return fma_avx512(is_double, sink);
    if (isa == NBI_ISA_AVX2)
        return fma_avx2(is_double, sink);
#elif defined(__aarch64__)
    if (isa == NBI_ISA_NEON)
        return fma_neon(is_double, sink);
#endif
    return fma_plain(is_double, sink);
}

/* Floating-point operations per second of the fastest of a few short runs. */
static inline double bench_peak(nbi_isa isa, bool is_double)
{
    double sink[8 * CHAINS], best = 0;
    for (int s = 0; s < 8; s++) {
        double t = bench_now(), flop = fma_loop(isa, is_double, sink);
        t = bench_now() - t;
        if (flop / t > best)
            best = flop / t;
    }
    return best;
}

#endif
