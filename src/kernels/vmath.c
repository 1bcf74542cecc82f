/* The table that turns an instruction set into its elementary functions.
 *
 * As with the matrix product, each object gives a pair, float then double, and a set of
 * another architecture maps to the plain pair, so that a lookup never fails and costs
 * one indexed load. The plain pair calls the C library element by element. It is
 * the reference for the others and serves machines without fused arithmetic, for
 * which the vector forms, built on exact products, were not made. */
#include "kernels/vmath.h"

static const nbi_vmath *const table[NBI_ISA_COUNT] = {
    [NBI_ISA_PLAIN] = nbi_vmath_plain,
#if defined(__x86_64__)
    [NBI_ISA_AVX2] = nbi_vmath_avx2,
    [NBI_ISA_AVX512] = nbi_vmath_avx512,
#else
    [NBI_ISA_AVX2] = nbi_vmath_plain,
    [NBI_ISA_AVX512] = nbi_vmath_plain,
#endif
#if defined(__aarch64__)
    [NBI_ISA_NEON] = nbi_vmath_neon,
#else
    [NBI_ISA_NEON] = nbi_vmath_plain,
#endif
};

const nbi_vmath *nbi_vmath_choose(nbi_isa isa, bool is_double) { return &table[isa][is_double]; }
