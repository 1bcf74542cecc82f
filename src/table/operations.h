/*
 * The rows of the table, spelled as operations.
 *
 * A body in table.def speaks of rows in capitals: MUL(x, EXP(y)). Which function that is depends on
 * the algebra, but that MUL belongs to the row `mul` does not, so the list stands here once. An
 * algebra says what an operation of one, two or three operands is,
 *
 *     #define NBI_OP1(name, a) nbi_value_##name(a)
 *     #define NBI_OP2(name, a, b) nbi_value_##name(a, b)
 *     #define NBI_OP3(name, a, b, c) nbi_value_##name(a, b, c)
 *
 * and includes this file, which may happen before or after those definitions: they are looked up
 * where a body is expanded, and may be changed between two expansions. The short names would clash
 * with other code sooner or later, so the second inclusion takes them back: this file is included
 * in pairs, around table.def. K, LET, RETURN, SELECT, CALL1, CALL2, CALL3, INFIX and PREFIX are the
 * algebra's own.
 */
#ifndef NBI_OPERATIONS
#define NBI_OPERATIONS
#define NEG(a)           NBI_OP1(neg, a)
#define ADD(a, b)        NBI_OP2(add, a, b)
#define SUB(a, b)        NBI_OP2(sub, a, b)
#define MUL(a, b)        NBI_OP2(mul, a, b)
#define DIV(a, b)        NBI_OP2(div, a, b)
#define FMA(a, b, c)     NBI_OP3(fma, a, b, c)
#define SQUARE(a)        NBI_OP1(square, a)
#define RECIP(a)         NBI_OP1(recip, a)
#define CHAIN(a, b)      NBI_OP2(chain, a, b)
#define LT(a, b)         NBI_OP2(lt, a, b)
#define LE(a, b)         NBI_OP2(le, a, b)
#define GT(a, b)         NBI_OP2(gt, a, b)
#define GE(a, b)         NBI_OP2(ge, a, b)
#define EQ(a, b)         NBI_OP2(eq, a, b)
#define NE(a, b)         NBI_OP2(ne, a, b)
#define MIN(a, b)        NBI_OP2(min, a, b)
#define MAX(a, b)        NBI_OP2(max, a, b)
#define CLAMP(a, b, c)   NBI_OP3(clamp, a, b, c)
#define ABS(a)           NBI_OP1(abs, a)
#define SIGN(a)          NBI_OP1(sign, a)
#define STEP(a)          NBI_OP1(step, a)
#define FLOOR(a)         NBI_OP1(floor, a)
#define CEIL(a)          NBI_OP1(ceil, a)
#define ROUND(a)         NBI_OP1(round, a)
#define TRUNC(a)         NBI_OP1(trunc, a)
#define FMOD(a, b)       NBI_OP2(fmod, a, b)
#define POW(a, b)        NBI_OP2(pow, a, b)
#define POWI(a, b)       NBI_OP2(powi, a, b)
#define SQRT(a)          NBI_OP1(sqrt, a)
#define RSQRT(a)         NBI_OP1(rsqrt, a)
#define CBRT(a)          NBI_OP1(cbrt, a)
#define HYPOT(a, b)      NBI_OP2(hypot, a, b)
#define EXP(a)           NBI_OP1(exp, a)
#define EXP2(a)          NBI_OP1(exp2, a)
#define EXPM1(a)         NBI_OP1(expm1, a)
#define LOG(a)           NBI_OP1(log, a)
#define LOG2(a)          NBI_OP1(log2, a)
#define LOG10(a)         NBI_OP1(log10, a)
#define LOG1P(a)         NBI_OP1(log1p, a)
#define XLOGX(a)         NBI_OP1(xlogx, a)
#define XLOGY(a, b)      NBI_OP2(xlogy, a, b)
#define LOGADDEXP(a, b)  NBI_OP2(logaddexp, a, b)
#define SIN(a)           NBI_OP1(sin, a)
#define COS(a)           NBI_OP1(cos, a)
#define TAN(a)           NBI_OP1(tan, a)
#define ASIN(a)          NBI_OP1(asin, a)
#define ACOS(a)          NBI_OP1(acos, a)
#define ATAN(a)          NBI_OP1(atan, a)
#define ATAN2(a, b)      NBI_OP2(atan2, a, b)
#define SINH(a)          NBI_OP1(sinh, a)
#define COSH(a)          NBI_OP1(cosh, a)
#define TANH(a)          NBI_OP1(tanh, a)
#define ASINH(a)         NBI_OP1(asinh, a)
#define ACOSH(a)         NBI_OP1(acosh, a)
#define ATANH(a)         NBI_OP1(atanh, a)
#define GAUSS(a)         NBI_OP1(gauss, a)
#define ERF(a)           NBI_OP1(erf, a)
#define ERFC(a)          NBI_OP1(erfc, a)
#define NORMAL_PDF(a)    NBI_OP1(normal_pdf, a)
#define NORMAL_CDF(a)    NBI_OP1(normal_cdf, a)
#define LGAMMA(a)        NBI_OP1(lgamma, a)
#define DIGAMMA(a)       NBI_OP1(digamma, a)
#define POLYGAMMA(a, b)  NBI_OP2(polygamma, a, b)
#define SIGMOID(a)       NBI_OP1(sigmoid, a)
#define LOG_SIGMOID(a)   NBI_OP1(log_sigmoid, a)
#define SOFTPLUS(a)      NBI_OP1(softplus, a)
#define SILU(a)          NBI_OP1(silu, a)
#define GELU(a)          NBI_OP1(gelu, a)
#define GELU_TANH(a)     NBI_OP1(gelu_tanh, a)
#define MISH(a)          NBI_OP1(mish, a)
#define SOFTSIGN(a)      NBI_OP1(softsign, a)
#define RELU(a)          NBI_OP1(relu, a)
#define LEAKY_RELU(a, b) NBI_OP2(leaky_relu, a, b)
#define ELU(a, b)        NBI_OP2(elu, a, b)
#define CELU(a, b)       NBI_OP2(celu, a, b)
#define SELU(a)          NBI_OP1(selu, a)
#define RELU6(a)         NBI_OP1(relu6, a)
#define HARD_TANH(a)     NBI_OP1(hard_tanh, a)
#define HARD_SIGMOID(a)  NBI_OP1(hard_sigmoid, a)
#define HARD_SWISH(a)    NBI_OP1(hard_swish, a)
#else
#undef NBI_OPERATIONS
#undef NEG
#undef ADD
#undef SUB
#undef MUL
#undef DIV
#undef FMA
#undef SQUARE
#undef RECIP
#undef CHAIN
#undef LT
#undef LE
#undef GT
#undef GE
#undef EQ
#undef NE
#undef MIN
#undef MAX
#undef CLAMP
#undef ABS
#undef SIGN
#undef STEP
#undef FLOOR
#undef CEIL
#undef ROUND
#undef TRUNC
#undef FMOD
#undef POW
#undef POWI
#undef SQRT
#undef RSQRT
#undef CBRT
#undef HYPOT
#undef EXP
#undef EXP2
#undef EXPM1
#undef LOG
#undef LOG2
#undef LOG10
#undef LOG1P
#undef XLOGX
#undef XLOGY
#undef LOGADDEXP
#undef SIN
#undef COS
#undef TAN
#undef ASIN
#undef ACOS
#undef ATAN
#undef ATAN2
#undef SINH
#undef COSH
#undef TANH
#undef ASINH
#undef ACOSH
#undef ATANH
#undef GAUSS
#undef ERF
#undef ERFC
#undef NORMAL_PDF
#undef NORMAL_CDF
#undef LGAMMA
#undef DIGAMMA
#undef POLYGAMMA
#undef SIGMOID
#undef LOG_SIGMOID
#undef SOFTPLUS
#undef SILU
#undef GELU
#undef GELU_TANH
#undef MISH
#undef SOFTSIGN
#undef RELU
#undef LEAKY_RELU
#undef ELU
#undef CELU
#undef SELU
#undef RELU6
#undef HARD_TANH
#undef HARD_SIGMOID
#undef HARD_SWISH
#endif
