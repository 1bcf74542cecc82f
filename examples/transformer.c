/*
 * A transformer learns to copy, and shows where it looks.
 *
 *     f a c h b e d g |        is to be continued by        f a c h b e d g
 *
 * At each place it is asked for the next token. What comes before the bar is random and cannot be
 * told, so the loss counts what follows the bar alone: the other labels are -1, and left out. A model
 * that does not look back can only guess, right one time in SYMBOLS, at a loss of log SYMBOLS.
 *
 * Attention is the part that can look back. At place i it asks q_i, each place j answers with k_j, and
 *
 *     p_ij = softmax over j <= i of q_i k_j / sqrt d,      y_i = sum over j of p_ij v_j,
 *
 * which is a lookup in a table whose keys are learned, and differentiable. Here nothing says that place
 * LENGTH + i must look at place i. The gradient finds it out: watch for the diagonal at the end.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { SYMBOLS = 8, BAR = SYMBOLS, LENGTH = 8, PLACES = 2 * LENGTH };
enum { WIDTH = 32, ROWS = 32, STEPS = 200, TRIALS = 500 };

typedef struct model {
    nb_embedding_layer token;
    nb_param place; /* added to the token, so that its place is known: attention sees a set */
    nb_transformer_block block;
    nb_norm_layer norm;
    nb_linear_layer out;
} model;

static model model_new(nb_params *p, nb_rng *r)
{
    const nb_param_options small = {.init = {NB_INIT_NORMAL, 0, 1 / sqrt(WIDTH)}};
    return (model){
        .token = nb_embedding_new(p, "token", SYMBOLS + 1, WIDTH, NULL, r),
        .place = nb_params_add(p, "place", NB_SHAPE(PLACES, WIDTH), &small, r),
        .block = nb_transformer_new(p, "block", WIDTH, NULL, r),
        .norm = nb_layer_norm_new(p, "norm", NB_SHAPE(WIDTH)),
        .out = nb_linear_new(p, "out", WIDTH, SYMBOLS, NULL, r),
    };
}

static const nb_attention_options causal = {.causal = true}; /* no place sees a later one */

/* What the block is given: [n PLACES WIDTH]. */
static nb_var embed(const model *l, const nb_pass *m, int64_t n, const int64_t *token)
{
    nb_var x = nb_embedding_apply(&l->token, m, NB_SHAPE(n, PLACES), token);
    return nb_add(x, nb_pass_var(m, l->place));
}

/* The logits of each place's next token: [n PLACES SYMBOLS]. */
static nb_var apply(const model *l, const nb_pass *m, int64_t n, const int64_t *token)
{
    nb_var x = nb_transformer_apply(&l->block, m, embed(l, m, n, token), &causal);
    return nb_linear_apply(&l->out, m, nb_norm_apply(&l->norm, m, x), NULL);
}

/* n rows: LENGTH random symbols, the bar, and all of them again but the last, which only the labels
 * have: label i is token i + 1. */
static void draw(nb_rng *r, int64_t n, int64_t *token, int64_t *label)
{
    for (; n > 0; n--, token += PLACES, label += PLACES) {
        token[LENGTH] = BAR;
        for (int i = 0; i < LENGTH; i++) {
            token[i] = (int64_t)nb_rng_below(r, SYMBOLS);
            label[i] = -1;
            label[LENGTH + i] = token[i];
        }
        for (int i = 1; i < LENGTH; i++)
            token[LENGTH + i] = token[i - 1];
    }
}

static nb_code train(const model *l, nb_params *p, nb_tape *t, nb_rng *r, nb_reason *why)
{
    static int64_t token[ROWS * PLACES], label[ROWS * PLACES];
    const nb_loss_options copies = {.ignore_negative = true};
    const nb_schedule rate = {.kind = NB_ONE_CYCLE, .rate = 1e-2, .steps = STEPS};
    const nb_mark start = nb_tape_mark(t);
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_ADAM), .rate = rate.rate}, why);
    nb_code code = o ? NB_OK : NB_ERR_ARGUMENT;
    for (int step = 1; step <= STEPS && !code; step++) {
        draw(r, ROWS, token, label);
        nb_pass m = nb_training_pass(p, t, r);
        nb_var loss = nb_cross_entropy(apply(l, &m, ROWS, token), ROWS * PLACES, label, &copies);
        code = nb_backward(loss);
        if (step == 1 || step % 25 == 0)
            printf("%6d  %6.3f\n", step, nb_value(loss));
        nb_rewind(start);
        code = code ? code : nb_optim_set_rate(o, nb_schedule_at(&rate, step - 1), why);
        code = code ? code : nb_clip_norm(p, 1, NULL, why);
        code = code ? code : nb_optim_step(o, why);
    }
    nb_optim_free(o);
    return code;
}

/* The share of symbols that are copied right, in sequences never seen (there are SYMBOLS^LENGTH of
 * them). The model is on its own: what it says at a place is the token of the next. */
static double accuracy(const model *l, nb_params *p, nb_tape *t, nb_rng *r)
{
    static int64_t token[TRIALS * PLACES], label[TRIALS * PLACES], said[TRIALS * PLACES];
    const nb_mark start = nb_tape_mark(t);
    int64_t right = 0;
    draw(r, TRIALS, token, label);
    for (int64_t k = 0; k < TRIALS * PLACES; k++)
        token[k] = k % PLACES < LENGTH ? token[k] : BAR;
    for (int i = LENGTH; i < PLACES; i++) {
        nb_pass m = nb_evaluation_pass(p, t);
        if (nb_argmax(apply(l, &m, TRIALS, token), -1, said))
            return 0;
        for (int64_t k = i; k < TRIALS * PLACES; k += PLACES) {
            right += said[k] == label[k];
            if (i + 1 < PLACES)
                token[k + 1] = said[k];
        }
        nb_rewind(start);
    }
    return (double)right / (TRIALS * LENGTH);
}

/* p_ij of one sequence, [PLACES PLACES], from the parameters of the block's attention. Returns how far
 * what follows from it is from what the layer itself computes, which keeps no p. */
static double attention(const model *l, nb_params *p, nb_tape *t, const int64_t *token, double *to)
{
    const nb_attention_layer *head = &l->block.attention;
    const nb_mark start = nb_tape_mark(t);
    nb_pass m = nb_evaluation_pass(p, t);
    nb_var x = nb_norm_apply(&l->block.before_attention, &m, embed(l, &m, 1, token));
    nb_var q = nb_linear_apply(&head->query, &m, x, NULL);
    nb_var k = nb_linear_apply(&head->key, &m, x, NULL);
    nb_var v = nb_linear_apply(&head->value, &m, x, NULL);
    nb_var past = nb_lower(nb_ones(t, NB_SHAPE(PLACES, PLACES)), 0);
    nb_var look = nb_masked_softmax(nb_div(nb_matmul_t(q, false, k, true), sqrt(WIDTH)), past, -1);
    nb_var y = nb_linear_apply(&head->out, &m, nb_matmul(look, v), NULL);
    nb_var same = nb_attention_apply(head, &m, x, NB_NONE, &causal);
    const double gap = nb_value(nb_amax(nb_abs(nb_sub(y, same))));
    nb_read(look, to, PLACES * PLACES);
    nb_rewind(start);
    return gap;
}

/* A row for each place that asks, from the bar on, and a column for each that is asked. Returns in how
 * many rows the symbol to be copied gets more than half of the attention. */
static int print_attention(const int64_t *token, double (*p)[PLACES])
{
    static const char shade[] = " .:-=+*#%@", name[] = "abcdefgh|";
    int aligned = 0;
    printf("   ");
    for (int j = 0; j < PLACES; j++)
        printf(" %c", name[token[j]]);
    puts("");
    for (int i = LENGTH; i < PLACES; i++) {
        printf(" %c ", name[token[i]]);
        for (int j = 0; j <= i; j++)
            printf(" %c", shade[(int)(p[i][j] * 9.999)]);
        printf("%*s-> %c\n", 2 * (PLACES - i), "", name[token[i - LENGTH]]);
        aligned += p[i][i - LENGTH] > 0.5;
    }
    return aligned;
}

static bool report(const model *l, nb_params *p, nb_tape *t, nb_rng *r)
{
    int64_t token[PLACES], label[PLACES];
    double pattern[PLACES][PLACES] = {{0}};
    const double right = accuracy(l, p, t, r);
    printf("\nSymbols copied right, in %d new sequences: %.1f %% (by chance %.1f %%).\n\n", TRIALS,
           100 * right, 100.0 / SYMBOLS);
    draw(r, 1, token, label);
    const double gap = attention(l, p, t, token, pattern[0]);
    puts("Where each place looks, and what it is to say:\n");
    const int aligned = print_attention(token, pattern);
    printf("\n%d of %d places look at the symbol they are to copy.\n", aligned, LENGTH);
    return right >= 0.99 && aligned == LENGTH && gap < 1e-4;
}

int main(void)
{
    nb_reason why = {""};
    nb_rng r = nb_rng_seed(1);
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = NB_F32});
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    const model l = model_new(p, &r);
    printf("%lld parameters, %d symbols to be copied, a loss of %.3f by chance\n\n  step    loss\n",
           (long long)nb_params_size(p), LENGTH, log(SYMBOLS));
    const bool good = !train(&l, p, t, &r, &why) && report(&l, p, t, &r);
    if (!good)
        printf("The copy is not learned. %s%s\n", why.text, nb_message(t));
    nb_tape_free(t);
    nb_params_free(p);
    return good ? 0 : 1;
}
