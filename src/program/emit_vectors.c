/*
 * What a printed function over a batch stands on: vectors as wide as the machine's, selections by masks,
 * loads and stores that transpose, functions called lane by lane. All of it is under one condition, that the
 * compiler has GCC's vector extensions with shuffles; the macro <name>_LANES tells.
 */
#include "program/emit.h"

/* Text with the function's name where '@' stands, the element type for '$', for "##" the whole numbers of its
 * width, for '%' and '^' what intrinsics and their types end with. */
static void print_text(const nbi_emission *e, const char *const *lines)
{
    const bool f64 = e->options.dtype == NB_F64;
    for (; *lines; lines++)
        for (const char *c = *lines; *c; c++)
            if (*c == '@')
                fputs(e->options.name, e->to);
            else if (*c == '$')
                fputs(nbi_emit_real(e->options.dtype), e->to);
            else if (*c == '%')
                fputs(f64 ? "pd" : "ps", e->to);
            else if (*c == '^')
                fputs(f64 ? "d" : "", e->to);
            else if (*c == '#' && c[1] == '#')
                fputs(f64 ? "int64_t" : "int32_t", e->to), c++;
            else
                fputc(*c, e->to);
}

static const char *const open_vectors[] = {
    "\n",
    "#if defined __clang__ || (defined __GNUC__ && __GNUC__ >= 12)\n",
    "#if defined __AVX512F__ && defined __AVX512DQ__\n",
    "#define @_BYTES 64\n",
    "#elif defined __AVX__\n",
    "#define @_BYTES 32\n",
    "#else\n",
    "#define @_BYTES 16\n",
    "#endif\n",
    "#define @_LANES ((int)(@_BYTES / sizeof($)))\n",
    "#if defined __SSE2__\n",
    "#include <immintrin.h>\n",
    "#endif\n",
    "typedef $ @_vec __attribute__((vector_size(@_BYTES)));\n",
    "typedef ## @_mask __attribute__((vector_size(@_BYTES)));\n",
    "#define @_INLINE static inline __attribute__((always_inline, unused))\n",
    "#define @_keep(m, a) ((@_vec)((@_mask)(m) & (@_mask)(a)))\n",
    "\n",
    "@_INLINE @_vec @_select(@_mask m, @_vec a, @_vec b)\n",
    "{\n",
    "    return (@_vec)((m & (@_mask)a) | (~m & (@_mask)b));\n",
    "}\n",
    "\n",
    "@_INLINE @_vec @_spread($ x)\n",
    "{\n",
    "    return x - (@_vec){0};\n",
    "}\n",
    "\n",
    "/* the lower, and the upper, halves of a and b, in turn from each */\n",
    "#if @_BYTES / @_SIZE == 16\n",
    "#define @_low 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23\n",
    "#define @_high 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31\n",
    "#elif @_BYTES / @_SIZE == 8\n",
    "#define @_low 0, 8, 1, 9, 2, 10, 3, 11\n",
    "#define @_high 4, 12, 5, 13, 6, 14, 7, 15\n",
    "#elif @_BYTES / @_SIZE == 4\n",
    "#define @_low 0, 4, 1, 5\n",
    "#define @_high 2, 6, 3, 7\n",
    "#else\n",
    "#define @_low 0, 2\n",
    "#define @_high 1, 3\n",
    "#endif\n",
    "\n",
    "/* rows as columns: such shuffles, as many as double one lane to all */\n",
    "@_INLINE void @_transpose(@_vec *v)\n",
    "{\n",
    "    for (int done = 1; done < @_LANES; done *= 2) {\n",
    "        @_vec t[@_LANES];\n",
    "        for (int k = 0; k < @_LANES / 2; k++) {\n",
    "            t[2 * k] = __builtin_shufflevector(v[k], v[k + @_LANES / 2], @_low);\n",
    "            t[2 * k + 1] = __builtin_shufflevector(v[k], v[k + @_LANES / 2], @_high);\n",
    "        }\n",
    "        for (int k = 0; k < @_LANES; k++)\n",
    "            v[k] = t[k];\n",
    "    }\n",
    "}\n",
    "\n",
    "/* n elements of each lane's row, one vector each, and back */\n",
    "@_INLINE void @_load(const $ *const *row, int first, int n, @_vec *v)\n",
    "{\n",
    "    int k = 0;\n",
    "    for (; n - k >= @_LANES; k += @_LANES) {\n",
    "        for (int l = 0; l < @_LANES; l++)\n",
    "            __builtin_memcpy(v + k + l, row[l] + first + k, sizeof *v);\n",
    "        @_transpose(v + k);\n",
    "    }\n",
    "    for (; k < n; k++) {\n",
    "        $ t[@_LANES];\n",
    "        for (int l = 0; l < @_LANES; l++)\n",
    "            t[l] = row[l][first + k];\n",
    "        __builtin_memcpy(v + k, t, sizeof *v);\n",
    "    }\n",
    "}\n",
    "\n",
    "@_INLINE void @_store($ *to, size_t step, int n, @_vec *v)\n",
    "{\n",
    "    int k = 0;\n",
    "    for (; n - k >= @_LANES; k += @_LANES) {\n",
    "        @_transpose(v + k);\n",
    "        for (int l = 0; l < @_LANES; l++)\n",
    "            __builtin_memcpy(to + (size_t)l * step + k, v + k + l, sizeof *v);\n",
    "    }\n",
    "    for (; k < n; k++)\n",
    "        for (int l = 0; l < @_LANES; l++)\n",
    "            to[(size_t)l * step + (size_t)k] = v[k][l];\n",
    "}\n",
    "\n",
    "@_INLINE void @_add(double *sum, @_vec v)\n",
    "{\n",
    "    for (int l = 0; l < @_LANES; l++)\n",
    "        sum[l] += (double)v[l];\n",
    "}\n",
    "\n",
    "@_INLINE int @_any(@_mask m)\n",
    "{\n",
    "    int any = 0;\n",
    "    for (int l = 0; l < @_LANES; l++)\n",
    "        any |= m[l] != 0;\n",
    "    return any;\n",
    "}\n",
    NULL};

/* A called row: by its vector function, where there is one; else lane by lane. */
static void print_lane_call(const nbi_emission *e, uint32_t row)
{
    static const char *const operands[] = {"x", "y", "z"}, *const lists[] = {"", "x", "x, y"};
    const nbi_printer w = {.to = e->to, .name = e->options.name, .dtype = e->options.dtype};
    const int arity = nbi_dag_arity(row);
    const char *name = e->options.name;
    char function[NBI_EMIT_NAME];
    const bool whole = e->options.dtype == NB_F64 && nbi_emit_lane_file(row, function);
    fprintf(e->to, "\n%s_INLINE %s_vec %s_lanes_%s(", name, name, name, nbi_dag_name(row));
    for (int k = 0; k < arity; k++)
        fprintf(e->to, "%s%s_vec %s", k ? ", " : "", name, operands[k]);
    fputs(")\n{\n", e->to);
    if (whole)
        fprintf(e->to, "#ifdef %s_FUNCTIONS\n    return %s(%s);\n#else\n", name, function,
                lists[arity]);
    fprintf(e->to, "    for (int l = 0; l < %s_LANES; l++)\n        x[l] = ", name);
    const bool wide = nbi_emit_call(&w, row);
    for (int k = 0; k < arity; k++)
        fprintf(e->to, "%s%s%s[l]", k ? ", " : "(", wide ? "(double)" : "", operands[k]);
    fprintf(e->to, ");\n    return x;\n%s}\n", whole ? "#endif\n" : "");
}

/* Vector functions need fused products and sums. */
static const char *const open_functions[] = {
    "\n", "#if ((@_BYTES == 64 || defined __AVX2__) && defined __FMA__) || defined __aarch64__\n",
    "#define @_FUNCTIONS\n", "#define VEC_BYTES @_BYTES\n", NULL};

/* Compilers do not make one instruction of square roots that might set errno. */
static const char *const lanes_sqrt[] = {"\n",
                                         "@_INLINE @_vec @_lanes_sqrt(@_vec x)\n",
                                         "{\n",
                                         "#if @_BYTES == 64\n",
                                         "    return (@_vec)_mm512_sqrt_%((__m512^)x);\n",
                                         "#elif @_BYTES == 32\n",
                                         "    return (@_vec)_mm256_sqrt_%((__m256^)x);\n",
                                         "#elif defined __SSE2__\n",
                                         "    return (@_vec)_mm_sqrt_%((__m128^)x);\n",
                                         "#else\n",
                                         "    for (int l = 0; l < @_LANES; l++)\n",
                                         "        x[l] = ($)sqrt((double)x[l]);\n",
                                         "    return x;\n",
                                         "#endif\n",
                                         "}\n",
                                         NULL};

/* Compilers find that sine and cosine of the same number are one call. */
static const char *const lanes_waves[] = {
    "\n",
    "@_INLINE void @_lanes_waves(@_vec x, @_vec *s, @_vec *c)\n",
    "{\n",
    "#ifdef @_FUNCTIONS\n",
    "    const f64s_waves v = sincos_lane(x);\n",
    "    *s = v.sin;\n",
    "    *c = v.cos;\n",
    "#else\n",
    "    $ t[2][@_LANES];\n",
    "    for (int l = 0; l < @_LANES; l++) {\n",
    "        t[0][l] = ($)sin((double)x[l]);\n",
    "        t[1][l] = ($)cos((double)x[l]);\n",
    "    }\n",
    "    __builtin_memcpy(s, t[0], sizeof *s);\n",
    "    __builtin_memcpy(c, t[1], sizeof *c);\n",
    "#endif\n",
    "}\n",
    NULL};

void nbi_emit_vectors(const nbi_emission *e)
{
    fprintf(e->to, "\n#define %s_SIZE %d\n", e->options.name, e->options.dtype == NB_F64 ? 8 : 4);
    print_text(e, open_vectors);
    if (e->options.dtype == NB_F64) {
        print_text(e, open_functions);
        nbi_emit_lane_functions(e);
        fputs("#endif\n", e->to);
    }
    if (e->waves)
        print_text(e, lanes_waves);
    for (uint32_t row = 0; row < NBI_ROWS; row++)
        if (e->lane_calls[row] && row == NBI_ROW_sqrt)
            print_text(e, lanes_sqrt);
        else if (e->lane_calls[row])
            print_lane_call(e, row);
    fputs("#endif\n", e->to);
}
