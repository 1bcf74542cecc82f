/*
 * A recurrent network learns to write, character by character.
 *
 *     char_rnn [--epochs N] [--load MODEL] [--save MODEL] [TEXT]
 *
 * Without a text, it is a page of "Alice's Adventures in Wonderland". At each character an LSTM is asked
 * for the next one. The loss is cross-entropy; divided by log 2 it is in bits per character, what an
 * arithmetic coder that knows the model would spend on the text.
 *
 * What would it be with no memory? A model that sees one character, the present one, spends at least
 *
 *     H(next | present) = sum over pairs ab of p(ab) log2 (p(a) / p(ab)),
 *
 * if it knows the text's own frequencies. An LSTM below this bound has made use of what came before. (A
 * page is short: in the end the network knows much of it by heart. Give it a book.)
 *
 * The text is cut into STREAMS streams that are read side by side, in windows of WINDOW steps. A sweep
 * goes back to the window's start and no further (truncated backpropagation through time), but the
 * state is carried over: it is copied out before the tape is rewound, and enters the next window as a
 * constant. So the network remembers more than a gradient ever saw.
 */
#include <errno.h>
#include <math.h>
#include <nabla.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STREAMS = 8, WINDOW = 12, WIDTH = 24, UNITS = 128 };
enum { EPOCHS = 40, SHOWN = 8, SAMPLE = 280 };
enum { SYMBOLS = 96 }; /* a line's end and the printable characters of ASCII, from the blank on */

static const char alice[] =
    "Alice was beginning to get very tired of sitting by her sister on the\n"
    "bank, and of having nothing to do: once or twice she had peeped into the\n"
    "book her sister was reading, but it had no pictures or conversations in\n"
    "it, \"and what is the use of a book,\" thought Alice \"without pictures or\n"
    "conversations?\"\n"
    "\n"
    "So she was considering in her own mind (as well as she could, for the\n"
    "hot day made her feel very sleepy and stupid), whether the pleasure of\n"
    "making a daisy-chain would be worth the trouble of getting up and picking\n"
    "the daisies, when suddenly a White Rabbit with pink eyes ran close by\n"
    "her.\n"
    "\n"
    "There was nothing so very remarkable in that; nor did Alice think it so\n"
    "very much out of the way to hear the Rabbit say to itself, \"Oh dear! Oh\n"
    "dear! I shall be late!\" (when she thought it over afterwards, it occurred\n"
    "to her that she ought to have wondered at this, but at the time it all\n"
    "seemed quite natural); but when the Rabbit actually took a watch out of\n"
    "its waistcoat-pocket, and looked at it, and then hurried on, Alice\n"
    "started to her feet, for it flashed across her mind that she had never\n"
    "before seen a rabbit with either a waistcoat-pocket, or a watch to take\n"
    "out of it, and burning with curiosity, she ran across the field after it,\n"
    "and fortunately was just in time to see it pop down a large rabbit-hole\n"
    "under the hedge.\n"
    "\n"
    "In another moment down went Alice after it, never once considering how in\n"
    "the world she was to get out again.\n"
    "\n"
    "The rabbit-hole went straight on like a tunnel for some way, and then\n"
    "dipped suddenly down, so suddenly that Alice had not a moment to think\n"
    "about stopping herself before she found herself falling down a very deep\n"
    "well.\n"
    "\n"
    "Either the well was very deep, or she fell very slowly, for she had\n"
    "plenty of time as she went down to look about her and to wonder what was\n"
    "going to happen next.\n";

/* ---- text ------------------------------------------------------------------------------------ */

typedef struct text {
    int64_t length;
    int64_t *symbol;
} text;

static int64_t symbol_of(int c) { return c == '\n' ? 0 : c >= ' ' && c <= '~' ? c - ' ' + 1 : -1; }

static char letter_of(int64_t symbol) { return symbol ? (char)(' ' + symbol - 1) : '\n'; }

/* All bytes of a file and how many, to be freed; NULL after a message. */
static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *bytes = NULL;
    bool good = f;
    size_t room = 0, got = 1;
    for (*n = 0; good && got; *n += got) {
        if (*n == room) {
            char *more = realloc(bytes, room = room ? 2 * room : 65536);
            if (!(good = more))
                break;
            bytes = more;
        }
        got = fread(bytes + *n, 1, room - *n, f);
        good = !ferror(f);
    }
    if (!good)
        fprintf(stderr, "char_rnn: %s: %s\n", path, strerror(errno));
    if (f)
        fclose(f);
    if (good)
        return bytes;
    free(bytes);
    return NULL;
}

/* In place of bytes their symbols, in memory to be freed. A line may end in \r\n, and a tab reads as a
 * blank; the first byte that is nothing of the kind is named. */
static text text_of(const char *name, const char *bytes, size_t n)
{
    int64_t line = 1, column = 0;
    text s = {0, malloc((n ? n : 1) * sizeof *s.symbol)};
    for (size_t i = 0; i < n && s.symbol; i++) {
        const int c = (unsigned char)bytes[i];
        const int64_t symbol = symbol_of(c == '\t' ? ' ' : c);
        column++;
        if (c == '\r')
            continue;
        if (symbol < 0) {
            fprintf(stderr,
                    "char_rnn: %s: line %lld, byte %lld: 0x%02x is not a character of ASCII\n",
                    name, (long long)line, (long long)column, (unsigned)c);
            free(s.symbol);
            return (text){0, NULL};
        }
        s.symbol[s.length++] = symbol;
        line += c == '\n';
        column = c == '\n' ? 0 : column;
    }
    if (!s.symbol)
        fprintf(stderr, "char_rnn: %s: no memory for %zu characters\n", name, n);
    return s;
}

/* H(next | present), in bits. */
static double bigram_bits(const text *s)
{
    static double pair[SYMBOLS][SYMBOLS], single[SYMBOLS];
    double bits = 0;
    for (int64_t i = 0; i + 1 < s->length; i++) {
        pair[s->symbol[i]][s->symbol[i + 1]]++;
        single[s->symbol[i]]++;
    }
    for (int a = 0; a < SYMBOLS; a++)
        for (int b = 0; b < SYMBOLS; b++)
            if (pair[a][b] > 0)
                bits += pair[a][b] * log2(single[a] / pair[a][b]);
    return bits / (double)(s->length - 1);
}

/* ---- model ----------------------------------------------------------------------------------- */

typedef struct model {
    nb_params *params;
    nb_tape *tape;
    nb_embedding_layer letter;
    nb_recurrent_layer lstm;
    nb_linear_layer out;
} model;

static model model_new(nb_rng *r)
{
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = NB_F32});
    return (model){
        .params = p,
        .tape = nb_tape_new(&(nb_options){.dtype = NB_F32}),
        .letter = nb_embedding_new(p, "letter", SYMBOLS, WIDTH, NULL, r),
        .lstm = nb_recurrent_new(p, "lstm", NB_CELL_LSTM, WIDTH, UNITS, NULL, r),
        .out = nb_linear_new(p, "out", UNITS, SYMBOLS, NULL, r),
    };
}

/* What the network remembers of each stream. */
typedef struct memory {
    float h[STREAMS * UNITS], c[STREAMS * UNITS];
} memory;

/* The logits of what comes next, [steps n SYMBOLS], after symbols [steps n]. The memory goes in as a
 * constant, and what it has become comes out. */
static nb_var apply(const model *l, const nb_pass *m, int64_t steps, int64_t n,
                    const int64_t *symbol, memory *s)
{
    const nb_shape shape = NB_SHAPE(1, n, UNITS);
    nb_recurrent_state start = {nb_constant_tensor_f32(l->tape, shape, s->h),
                                nb_constant_tensor_f32(l->tape, shape, s->c)};
    nb_recurrent_state end;
    nb_var x = nb_embedding_apply(&l->letter, m, NB_SHAPE(steps, n), symbol);
    nb_var y = nb_recurrent_apply(&l->lstm, m, x, &start, &end);
    if (nb_ok(y)) {
        memcpy(s->h, nb_data(end.h), (size_t)n * UNITS * sizeof *s->h);
        memcpy(s->c, nb_data(end.c), (size_t)n * UNITS * sizeof *s->c);
    }
    return nb_linear_apply(&l->out, m, y, NULL);
}

/* ---- training -------------------------------------------------------------------------------- */

/* Learns from one window. Returns its mean loss; NaN after an error. */
static double learn(const model *l, nb_optim *o, int64_t steps, const int64_t *symbol,
                    const int64_t *next, memory *s, nb_reason *why)
{
    const nb_mark start = nb_tape_mark(l->tape);
    nb_pass m = nb_training_pass(l->params, l->tape, NULL);
    nb_var y = apply(l, &m, steps, STREAMS, symbol, s);
    nb_var loss = nb_cross_entropy(y, steps * STREAMS, next, NULL);
    double value = nb_value(loss);
    if (nb_backward(loss) || nb_clip_norm(l->params, 1, NULL, why) || nb_optim_step(o, why))
        value = (double)NAN;
    nb_rewind(start);
    return value;
}

/* Once through the text. Returns bits per character, each window's before it was learned from. */
static double epoch(const model *l, nb_optim *o, const text *s, nb_reason *why)
{
    int64_t symbol[WINDOW * STREAMS], next[WINDOW * STREAMS];
    const int64_t each = s->length / STREAMS, last = each - 1;
    memory state = {{0}, {0}};
    double sum = 0;
    for (int64_t at = 0; at < last && !isnan(sum); at += WINDOW) {
        const int64_t steps = last - at < WINDOW ? last - at : WINDOW;
        for (int64_t i = 0; i < steps * STREAMS; i++) {
            const int64_t *from = s->symbol + i % STREAMS * each + at + i / STREAMS;
            symbol[i] = from[0];
            next[i] = from[1];
        }
        sum += (double)steps * learn(l, o, steps, symbol, next, &state, why);
    }
    return sum / (double)last / log(2);
}

/* Returns the last epoch's bits; NaN after an error. */
static double train(const model *l, const text *s, long epochs, nb_reason *why)
{
    const nb_schedule rate = {.kind = NB_COSINE, .rate = 8e-3, .last = 1e-3, .steps = epochs};
    nb_optim *o = nb_optim_new(
        l->params, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = rate.rate}, why);
    double bits = o ? 0 : (double)NAN;
    puts("\n epoch  bits per character");
    for (long k = 1; k <= epochs && !isnan(bits); k++) {
        nb_optim_set_rate(o, nb_schedule_at(&rate, k - 1), why);
        bits = epoch(l, o, s, why);
        if (k == 1 || k == epochs || k % (epochs / SHOWN + 1) == 0)
            printf("%6ld  %.3f\n", k, bits);
        fflush(stdout);
    }
    nb_optim_free(o);
    return bits;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A symbol drawn from softmax(logits / temperature): as learned at 1, surer the lower. */
static int64_t choose(const float *logits, double temperature, nb_rng *r)
{
    double p[SYMBOLS], sum = 0;
    float top = logits[0];
    for (int k = 1; k < SYMBOLS; k++)
        top = fmaxf(top, logits[k]);
    for (int k = 0; k < SYMBOLS; k++)
        sum += p[k] = exp((double)(logits[k] - top) / temperature);
    double at = sum * nb_rng_uniform(r);
    int64_t chosen = 0;
    while (chosen < SYMBOLS - 1 && (at -= p[chosen]) >= 0)
        chosen++;
    return chosen;
}

static void sample(const model *l, int64_t symbol, double temperature, nb_rng *r)
{
    memory state = {{0}, {0}};
    const nb_mark start = nb_tape_mark(l->tape);
    printf("\n---- temperature %.1f ----\n%c", temperature, letter_of(symbol));
    for (int i = 0; i < SAMPLE; i++) {
        nb_pass m = nb_evaluation_pass(l->params, l->tape);
        const float *logits = nb_data(apply(l, &m, 1, 1, &symbol, &state));
        if (!logits)
            break;
        symbol = choose(logits, temperature, r);
        putchar(letter_of(symbol));
        nb_rewind(start);
    }
    puts("");
}

/* ---- the program ----------------------------------------------------------------------------- */

typedef struct choices {
    const char *path, *load, *save; /* NULL: none */
    long epochs;
} choices;

static bool complain(const char *word, const char *what)
{
    fprintf(stderr, "char_rnn: %s %s\n", word, what);
    fputs("usage: char_rnn [--epochs N] [--load MODEL] [--save MODEL] [TEXT]\n", stderr);
    return false;
}

static bool parse(int argc, char **argv, choices *c)
{
    const char *epochs = NULL;
    char *end;
    *c = (choices){.epochs = EPOCHS};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        const char **to = !strcmp(word, "--epochs") ? &epochs
                          : !strcmp(word, "--load") ? &c->load
                          : !strcmp(word, "--save") ? &c->save
                                                    : NULL;
        if (to && ++i == argc)
            return complain(word, "wants a word behind it");
        if (!to && word[0] == '-')
            return complain(word, "is not an option");
        if (!to && c->path)
            return complain(word, "is a second text");
        *(to ? to : &c->path) = argv[i];
    }
    if (epochs) {
        c->epochs = strtol(epochs, &end, 10);
        if (end == epochs || *end || c->epochs < 0 || c->epochs > 1000000)
            return complain(epochs, "is not a number of epochs from 0 to 1000000");
    }
    return true;
}

/* The first symbol that is not blank: what samples begin with. */
static int64_t first_letter(const text *s)
{
    int64_t k = 0;
    while (k + 1 < s->length && s->symbol[k] <= symbol_of(' '))
        k++;
    return s->symbol[k];
}

/* Trains if it is to, compares, writes. */
static bool run(const model *l, const choices *c, const text *s, nb_reason *why)
{
    nb_saved saved = {.params = l->params};
    const double bound = bigram_bits(s);
    nb_rng r = nb_rng_seed(2);
    if (c->load && nb_load(&saved, c->load, why))
        return false;
    printf("%lld characters, %lld parameters; with one character of memory at least %.3f bits\n",
           (long long)s->length, (long long)nb_params_size(l->params), bound);
    const double bits = c->epochs ? train(l, s, c->epochs, why) : 0;
    if (isnan(bits))
        return false;
    if (c->epochs)
        printf("\n%.3f bits per character: %s.\n", bits,
               bits < bound ? "it remembers" : "no better than pairs of characters");
    const int64_t first = first_letter(s);
    sample(l, first, 0.4, &r);
    sample(l, first, 1.0, &r);
    if (c->save && nb_save(&saved, c->save, why))
        return false;
    if (!c->path && c->epochs && bits >= bound)
        snprintf(why->text, sizeof why->text, "it has not learned to use its memory");
    return nb_status(l->tape) == NB_OK && !*why->text;
}

/* The text that is asked for; without symbols after a message. */
static text find_text(const char *path)
{
    const char *name = path ? path : "the text";
    size_t n = sizeof alice - 1;
    char *bytes = path ? read_file(path, &n) : NULL;
    text s = {0, NULL};
    if (!path || bytes)
        s = text_of(name, path ? bytes : alice, n);
    free(bytes);
    if (s.symbol && s.length < 2 * STREAMS) {
        fprintf(stderr, "char_rnn: %s: %lld characters are too few, there must be %d\n", name,
                (long long)s.length, 2 * STREAMS);
        free(s.symbol);
        s.symbol = NULL;
    }
    return s;
}

int main(int argc, char **argv)
{
    choices c;
    nb_reason why = {""};
    nb_rng r = nb_rng_seed(1);
    if (!parse(argc, argv, &c))
        return 2;
    text s = find_text(c.path);
    if (!s.symbol)
        return 1;
    const model l = model_new(&r);
    const bool good = run(&l, &c, &s, &why);
    if (!good)
        fprintf(stderr, "char_rnn: %s%s\n", why.text, nb_message(l.tape));
    nb_tape_free(l.tape);
    nb_params_free(l.params);
    free(s.symbol);
    return good ? 0 : 1;
}
