/* Run-time detection of the instruction set.
 *
 * On x86-64 the compiler's own processor query also asks the operating system
 * whether it saves the wide registers on a context switch, which the bare CPUID
 * bits do not tell. The kernels' "avx512" means the subset F, VL and DQ: all
 * server processors since 2017 have it. On aarch64 the vector unit is part of
 * the base architecture, so there is nothing to ask.
 *
 * Forcing can only lower: on one architecture's ladder the enumerators are in
 * rising order (plain, avx2, avx512 or plain, neon), and a name from the other
 * ladder is ignored. */
#include "kernels/cpu.h"

#include <string.h>

static const char *const names[NBI_ISA_COUNT] = {"plain", "avx2", "avx512", "neon"};

nbi_isa nbi_isa_best(void)
{
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return NBI_ISA_PLAIN;
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512dq");
    return wide ? NBI_ISA_AVX512 : NBI_ISA_AVX2;
#elif defined(__aarch64__)
    return NBI_ISA_NEON;
#else
    return NBI_ISA_PLAIN;
#endif
}

bool nbi_isa_available(nbi_isa isa)
{
    nbi_isa best = nbi_isa_best();
    if (isa == NBI_ISA_PLAIN || isa == best)
        return true;
    return isa == NBI_ISA_AVX2 && best == NBI_ISA_AVX512;
}

const char *nbi_isa_name(nbi_isa isa) { return names[isa]; }

nbi_isa nbi_isa_lower(nbi_isa best, const char *forced)
{
    if (!forced)
        return best;
    for (int i = 0; i < NBI_ISA_COUNT; i++) {
        bool below =
            (nbi_isa)i == NBI_ISA_PLAIN || ((nbi_isa)i == NBI_ISA_AVX2 && best == NBI_ISA_AVX512);
        if (strcmp(forced, names[i]) == 0 && below)
            return (nbi_isa)i;
    }
    return best;
}
