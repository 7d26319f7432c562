"""Other kernels call the look-ups, with built and with mapped tables."""

import itertools
import math
import random

import kenlm
import numba
import numpy as np
import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, Tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.corpus import lm_words
from nar_asr_lobes.lm.ngram import lookup
from nar_asr_lobes.lm.ngram.lookup import (
    NgramLM,
    fill_rows,
    new_rows,
    score_sentence,
    score_token,
)
from nar_asr_lobes.lm.ngram.tables import (
    DTYPES,
    NgramInfo,
    NgramTables,
    read_ngram,
    read_only,
    write_ngram,
)
from nar_asr_lobes.lm.ngram.training import train_ngram
from tests.compiled_calls import callable_from_python
from tests.random_ngram import random_tables

# "1 2" is known after "0": states are 0, "1" (1), "1 2" (2).
TABLES = NgramTables(
    unigram_log_prob=[-np.inf, -1.0, -2.0, -3.0],
    unigram_state=[0, 1, 0, 0],
    backoff=[0.0, -0.25, 0.5],
    backoff_state=[0, 0, 1],
    final=[-4.0, -5.0, -6.0],
    arc_begin=[0, 0, 2, 3],
    arc_token=[1, 2, 3],
    arc_log_prob=[-0.5, -0.75, -0.125],
    arc_state=[1, 2, 0],
    start=[1],
)
TABLES = NgramTables(*map(read_only, map(np.array, TABLES), DTYPES))

fill_row = callable_from_python(lookup._fill_row)
find_rows = callable_from_python(lookup.find_rows)
most = callable_from_python(lookup.most)
SIZE = 12
RANDOM = random_tables(60, SIZE, seed=0)


@pytest.mark.parametrize(
    ("state", "token", "log_prob", "after"),
    [
        (0, 1, -1.0, 1),
        (0, 3, -3.0, 0),
        (1, 1, -0.5, 1),  # the first of its arcs, and the last
        (1, 2, -0.75, 2),
        (1, 3, -0.25 - 3.0, 0),  # the next state's arc is not its own
        (2, 3, -0.125, 0),
        (2, 2, 0.5 - 0.75, 2),
        (2, 1, 0.5 - 0.5, 1),
    ],
)
def test_arcs_before_back_off(state, token, log_prob, after):
    assert score_token(TABLES, state, token) == (log_prob, after)


@pytest.mark.parametrize(
    ("state", "token", "log_prob", "after"),
    [
        (2, 3, -0.125, 0),  # its arcs are before either chain
        (2, 2, 0.5 - 0.75, 2),
        (2, 1, -8.0 - 1.0, 1),  # straight to no words
        (1, 3, -16.0 - 0.125, 0),  # to a longer state
    ],
)
def test_a_chain_of_its_own(state, token, log_prob, after):
    tables = TABLES._replace(
        backoff=np.append(TABLES.backoff, np.float32([0, -16, -8])),
        backoff_state=np.append(TABLES.backoff_state, np.int32([0, 2, 0])),
        chain=np.int32([0, 3, 0, 3]),
    )
    tables = NgramTables(*map(read_only, tables, DTYPES))
    assert score_token(tables, state, token) == (log_prob, after)


def test_a_sentence_starts_and_ends():
    assert score_sentence(TABLES, np.array([], dtype=np.int64)) == -5.0
    assert score_sentence(TABLES, np.array([2, 3])) == -0.75 - 0.125 - 4.0


def test_one_kind_of_arrays_so_that_numba_compiles_once(tmp_path):
    tokenizer = CharTokenizer("abc")
    info = NgramInfo(tokenizer.fingerprint, 2, 1, 0, "numpy")
    write_ngram(tmp_path / "lm.ngram", TABLES, info)
    mapped, _ = read_ngram(tmp_path / "lm.ngram", tokenizer)
    assert numba.typeof(mapped) == numba.typeof(TABLES)
    assert numba.typeof(fill_rows(mapped)) == numba.typeof(TABLES)


def test_another_kernel_may_call_it_without_the_interpreter_lock():
    @numba.njit(nogil=True)
    def mass(tables, state):
        total = math.exp(tables.final[state])
        for token in range(1, len(tables.unigram_log_prob)):
            total += math.exp(score_token(tables, state, token)[0])
        return total

    wanted = sum(map(math.exp, (-1.0, -2.0, -3.0, -4.0)))
    assert mass(TABLES, 0) == pytest.approx(wanted)


@pytest.mark.parametrize("chains", [1, 2])
@pytest.mark.parametrize("numbers", [0, 9 * 7, 9 * 60, 1 << 20])
def test_rows_change_no_look_up(chains, numbers):
    tables = random_tables(60, 9, seed=3, chains=chains)
    filled = fill_rows(tables, numbers)
    rows = max(1, min(60, numbers // 9))
    assert filled.row_log_prob.shape == filled.row_state.shape == (rows, 9)
    for state in range(60):
        for token in range(1, 9):
            log_prob, after = score_token(tables, state, token)
            found = score_token(filled, state, token)
            assert found == (pytest.approx(log_prob, abs=1e-12), after)


def test_rows_are_read_and_not_the_arcs_below_them():
    filled = fill_rows(TABLES, numbers=2 * 4)
    changed = filled._replace(arc_token=np.zeros(3, np.int32))
    changed = NgramTables(*map(read_only, changed, DTYPES))
    assert score_token(changed, 1, 2) == (-0.75, 2)
    assert score_token(changed, 2, 3) == (0.5 - 0.25 - 3.0, 0)


def looked_up(state, tables=RANDOM):
    """The row of a state, token by token."""
    return [score_token(tables, state, token)[0] for token in range(SIZE)]


def beam_of(states):
    """A beam of which only the states are known."""
    return np.array([(state,) for state in states], [("state", np.int32)])


@pytest.mark.parametrize("chains", [1, 2])
@pytest.mark.parametrize("state", range(60))
def test_a_row_is_what_look_ups_find(state, chains):
    tables, row = random_tables(60, SIZE, 0, chains), np.empty(SIZE)
    for model in (tables, fill_rows(tables, 20 * SIZE)):
        fill_row(model, state, row)
        assert row[1:].tolist() == looked_up(state, model)[1:]


def test_states_with_a_row_in_the_tables_need_no_other_one():
    tables, rows = fill_rows(RANDOM, 20 * SIZE), new_rows(3, RANDOM)
    assert find_rows(rows, tables, beam_of([3, 25, 19]), 0, SIZE)
    assert [state for state in rows.state if state >= 0] == [25]
    for k, state in enumerate([3, 25, 19]):
        found = [most(rows, tables, k, state, t) for t in range(1, SIZE)]
        assert found == pytest.approx(looked_up(state)[1:], abs=1e-5)


def test_rows_follow_a_beam_that_changes():
    rng, rows = np.random.default_rng(1), new_rows(3, RANDOM)
    for frame in range(200):
        # of 60 states, so that rows get new owners, often equal ones
        states = rng.integers(60, size=rng.integers(1, 4)) // 2
        assert find_rows(rows, RANDOM, beam_of(states), frame, SIZE)
        for k, state in enumerate(states):
            found = [
                most(rows, RANDOM, k, state, token) for token in range(SIZE)
            ]
            assert found == pytest.approx(looked_up(state), abs=1e-5)
            assert np.all(np.array(found) > looked_up(state))


def test_a_beam_that_stays_keeps_its_rows():
    rows = new_rows(2, RANDOM)
    for frame, states in enumerate(([5, 9], [7, 5], [5, 3], [5, 8])):
        find_rows(rows, RANDOM, beam_of(states), frame, SIZE)
        if frame == 0:
            rows.log_prob[rows.place[0]] = 1.0
    assert most(rows, RANDOM, 0, 5, 4) > 1.0


def test_no_rows_for_few_tokens_or_a_wide_beam():
    rows = new_rows(1000, RANDOM)
    assert not find_rows(rows, RANDOM, beam_of([5]), 0, 3)
    assert not find_rows(rows, RANDOM, beam_of(range(100)), 0, SIZE)
    assert (rows.state == -1).all()


TOKENIZER = CharTokenizer("abcdé ")
TEXT = ["abba", "baa ab", "cab a", "é bé", "ab ab a", "caba bé a"]  # no d


class Words(Tokenizer):
    """Whole words as pieces, so that any string can be one."""

    def _encode(self, text):
        return [self.pieces.index(word) for word in text.split()]

    def _content(self):
        raise AssertionError("never saved here")

    def _unknown(self, text):
        raise AssertionError("knows all words of this test")


@pytest.fixture(params=[1, 2, 3, 6])
def trained(request, tmp_path):
    """The report of a trained model."""
    path = tmp_path / "lm.arpa"
    return train_ngram(TEXT, TOKENIZER, request.param, path)


@pytest.fixture
def lm(tmp_path):
    """A trigram."""
    path = tmp_path / "lm.arpa"
    report = train_ngram(TEXT, TOKENIZER, 3, path)
    return NgramLM.load(report.path, TOKENIZER)


def test_natural_logs_by_the_back_off_rule(trained, read_arpa):
    lm, order = NgramLM.load(trained.path, TOKENIZER), trained.info.order
    grams = read_arpa(trained.arpa)
    words = lm_words(TOKENIZER)
    for text in ("abba", "é", "da dd", "cab bad", ""):
        tokens = TOKENIZER.encode(text)
        wanted = grams.sentence([words[i] for i in tokens], order)
        assert lm.sentence(tokens) == pytest.approx(
            wanted * math.log(10), abs=1e-4
        )


class Oracle:
    """KenLM with natural logs, for one tokenizer."""

    def __init__(self, arpa, tokenizer):
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        self.model = kenlm.Model(str(arpa), config)
        self.words = lm_words(tokenizer)

    def start(self):
        state = kenlm.State()
        self.model.BeginSentenceWrite(state)
        return state

    def score(self, state, token):
        return self._score(state, self.words[token])

    def final(self, state):
        return self._score(state, "</s>")[0]

    def _score(self, state, word):
        after = kenlm.State()
        log10 = self.model.BaseScore(state, word, after)
        return log10 * math.log(10), after


def sequences(tokenizer, lines, count, seed):
    """Random ids, and beginnings of lines with random ids after them."""
    rng = random.Random(seed)
    known = [tokenizer.encode(line) for line in lines if line]
    for _ in range(count):
        tokens = []
        if rng.random() < 0.5:
            tokens = rng.choice(known)[: rng.randrange(12)]
        length = rng.randrange(8)
        yield tokens + rng.choices(range(1, tokenizer.size), k=length)


@pytest.mark.parametrize("prune", [(), (0, 0, 1), (0, 1)])
@pytest.mark.parametrize("order", [1, 2, 3, 6, 10])
@pytest.mark.parametrize("text", ["notes", "chant", "gap", "tiny"])
def test_every_score_and_every_state_is_kenlms(
    text, order, prune, tmp_path, reference_text
):
    """Natural logs within 1e-4; states equal where, and only where, KenLM's.

    The tokenizer has two pieces that no text has.
    """
    lines = reference_text(text)
    letters = "".join(sorted(set("".join(lines)) | {"\u03a9", "\u0416"}))
    tokenizer = CharTokenizer(letters)
    report = train_ngram(
        lines, tokenizer, order, tmp_path / "lm.arpa", prune[:order], False
    )
    lm = NgramLM.load(report.path, tokenizer)
    oracle = Oracle(report.arpa, tokenizer)
    # KenLM has a state for <s> even where nothing is known of it.
    pairs = set()
    seed = order * 100 + len(prune)
    for tokens in sequences(tokenizer, lines, 200, seed):
        state, wanted_state, total = lm.start(), oracle.start(), 0.0
        for token in tokens:
            log_prob, state = lm.score(state, token)
            wanted, wanted_state = oracle.score(wanted_state, token)
            assert log_prob == pytest.approx(wanted, abs=1e-4, rel=0)
            pairs.add((state, wanted_state))
            total += log_prob
        wanted = oracle.final(wanted_state)
        assert lm.final(state) == pytest.approx(wanted, abs=1e-4, rel=0)
        assert lm.sentence(tokens) == pytest.approx(total + lm.final(state))
    ours, theirs = map(set, zip(*pairs, strict=True))
    assert len(ours) == len(theirs) == len(pairs)


def test_no_state_is_left_over(lm):
    """Every state comes up in some text."""
    seen, new = {0}, {lm.start()}
    while new:
        seen |= new
        tokens = range(1, TOKENIZER.size)
        new = {lm.score(s, token)[1] for s in new for token in tokens} - seen
    assert seen == set(range(len(lm.tables.backoff)))


def test_tokens_of_numpy_are_welcome(lm):
    tokens = np.array(TOKENIZER.encode("cab"), dtype=np.int32)
    assert lm.sentence(tokens) == lm.sentence(tokens.tolist())
    assert lm.score(1, tokens[0]) == lm.score(1, int(tokens[0]))


def test_sentence_is_the_sum_of_its_steps(lm):
    state, total = lm.start(), 0.0
    for token in TOKENIZER.encode("baab"):
        log_prob, state = lm.score(state, token)
        assert log_prob < 0
        total += log_prob
    total += lm.final(state)
    assert total == pytest.approx(lm.sentence(TOKENIZER.encode("baab")))


def test_next_tokens_are_a_distribution(lm):
    """All pieces of the text, the unknown one and the end sum to one."""
    _, state = lm.score(lm.start(), TOKENIZER.encode("b")[0])
    every = range(1, TOKENIZER.size)  # "d" stands for the unknown
    total = sum(math.exp(lm.score(state, token)[0]) for token in every)
    assert total + math.exp(lm.final(state)) == pytest.approx(1, abs=1e-5)


def test_states_are_values(lm):
    a, b = TOKENIZER.encode("ab")
    start = lm.start()
    first = lm.score(start, a)
    lm.score(first[1], b)
    lm.final(first[1])
    again = lm.score(start, a)
    assert again == first
    assert hash(again[1]) == hash(first[1])
    assert start == lm.start() != first[1]


def test_unseen_piece_is_the_unknown_word(lm, tmp_path, read_arpa):
    unknown = read_arpa(tmp_path / "lm.arpa")[("<unk>",)][0]
    d = TOKENIZER.encode("d")
    _, state = lm.score(lm.start(), d[0])  # nothing is known after it
    log_prob, _ = lm.score(state, d[0])
    assert log_prob == pytest.approx(unknown * math.log(10), abs=1e-5)


@pytest.mark.parametrize("token", [0, -1, TOKENIZER.size])
def test_ids_that_are_no_pieces(lm, token):
    with pytest.raises(ValueError, match=r"not in 1\.\.6"):
        lm.score(lm.start(), token)
    with pytest.raises(ValueError, match=rf"id {token} is not in 1\.\.6"):
        lm.sentence([1, token, 2])


def test_pieces_named_like_boundaries_are_ordinary(tmp_path):
    """Names of pieces change no score, not even <s> or a NUL."""
    text = ["p q r p", "q s p", "r r s t", "t u p"]
    odd = ["<s>", "</s>", "<unk>", "<UNK>", "\0", "<piece:1>"]
    names = dict(zip("pqrstu", odd, strict=True))
    models = []
    for pieces in (list("pqrstu"), odd):
        tokenizer = Words(["<blank>", *pieces], repr(pieces).encode())
        lines = text
        if pieces is odd:
            lines = [" ".join(names[w] for w in t.split()) for t in text]
        path = tmp_path / f"{len(models)}.arpa"
        report = train_ngram(lines, tokenizer, 3, path)
        models.append(NgramLM.load(report.path, tokenizer))
    plain, other = models
    for tokens in itertools.product(range(1, 7), repeat=3):
        assert other.sentence(tokens) == plain.sentence(tokens)


def test_other_tokenizer(trained):
    with pytest.raises(UserError, match="another tokenizer"):
        NgramLM.load(trained.path, CharTokenizer("abcdé"))
