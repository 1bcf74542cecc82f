# Reads a header of operations and writes what it includes last: for each prototype a macro of the
# same name that turns numbers among its var operands into vars and, under NB_LOCATE, notes the place
# of the call. Called with header=ops.h guard=NABLA_MIX_H, say.
BEGIN {
    print "/* Made from " header ": lets plain numbers stand where vars do. */"
    print "#ifndef " guard
    print "#define " guard
    split("add sub mul div", list, " ")
    for (i in list) inlined["nb_" list[i]] = 1
}
/^NB_API nb_(var|code) nb_/ { text = ""; taking = 1 }
taking {
    line = $0
    sub(/\/\*.*/, "", line)
    text = text " " line
    if (index(line, ";")) { taking = 0; emit(text) }
}
END { print "#endif" }

# The leading vars are named and wrapped; what follows them passes through untouched, so that it may
# hold commas (a compound literal, say).
function emit(text,    name, list, n, i, params, call) {
    sub(/^ *NB_API nb_(var|code) /, "", text)
    name = text; sub(/\(.*/, "", name)
    sub(/^[^(]*\(/, "", text); sub(/\).*/, "", text)
    n = split(text, list, ",")
    for (i = 1; i <= n && list[i] ~ /^ *nb_var [a-z_0-9]+ *$/; i++) {
        params = params (i > 1 ? ", " : "") "x" i
        call = call (i > 1 ? ", NBI_VAR(x" : "NBI_FIRST(x") i ")"
    }
    if (i == 1) return
    if (i <= n) { params = params ", ..."; call = call ", __VA_ARGS__" }
    printf "#define %s(%s) %s(%s)\n", name, params,
           (name in inlined) ? "nbi_inline_" substr(name, 4) : "(" name ")", call
}
