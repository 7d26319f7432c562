import logging
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.decoding.beam.search import prefix_beam_search
from nar_asr_lobes.decoding.hotwords.tables import HotWords, read_hot_words
from nar_asr_lobes.decoding.hypotheses import BeamOptions
from nar_asr_lobes.errors import UserError
from tests.decoding.beam.test_search import EXACT, enumerate_paths, naive_beam
from tests.decoding.hot_oracle import naive_gain
from tests.decoding.ngram_tables import BackoffLM

LETTERS = CharTokenizer(" ab")
PIECES = train_tokenizer(["abba ba", "ab ab ca", "cab a", "bac"], "unigram", 9)


class HotLM:
    """A language model and hot words as one, for the textbook search."""

    def __init__(self, lm, hot, tokenizer, lm_weight):
        self.lm, self.weight = lm, lm_weight
        self.hot = oracle(hot, tokenizer)

    def partial(self, tokens):
        gained = self.hot(tokens, ended=False) / self.weight
        return self.lm.partial(tokens) + gained

    def sentence(self, tokens):
        return self.lm.sentence(tokens) + self.hot(tokens) / self.weight


def random_list(rng, tokenizer, boost, letters="abc"):
    """A list of one to four phrases of one or two short words."""
    phrases = []
    for _ in range(int(rng.integers(1, 5))):
        words = [
            "".join(rng.choice([*letters], size=rng.integers(1, 4)))
            for _ in range(rng.integers(1, 3))
        ]
        phrases.append(" ".join(words))
    hot = HotWords.build(phrases, tokenizer, boost)
    return replace(hot, limit=int(rng.integers(1, 4)))


def oracle(hot, tokenizer):
    """The naive gain of a sequence, for this list."""
    begin = {i for i, p in enumerate(tokenizer.pieces) if p[0] in "▁天气"}
    spaces = {i for i in begin if tokenizer.pieces[i] == "▁"}
    phrases = [tuple(tokenizer.encode(phrase)) for phrase in hot.phrases]
    rules = phrases, begin, spaces, tokenizer is PIECES, hot.limit
    return lambda ids, **more: hot.boost * naive_gain(ids, *rules, **more)


@pytest.mark.parametrize(
    "tokenizer", [CharTokenizer(" abc"), PIECES, CharTokenizer(" ab天气")]
)
def test_the_table_equals_the_rules(tokenizer):
    rng, gained, limited = np.random.default_rng(2), 0, 0
    letters = "ab天气" if "天" in tokenizer.pieces else "abc"
    for _ in range(25):
        hot = random_list(rng, tokenizer, 2.0, letters)
        naive = oracle(hot, tokenizer)
        for _ in range(8):
            words = rng.choice([*hot.phrases, "a", "b"], size=6)
            ids = tokenizer.encode(" ".join(words))
            place = int(rng.integers(len(ids)))
            ids[place] = int(rng.integers(1, tokenizer.size))
            assert hot.gain(ids) == naive(ids)
            without = oracle(replace(hot, limit=99), tokenizer)(ids)
            gained += naive(ids) > 0
            limited += naive(ids) < without
    assert gained > 120
    assert limited > 20


@pytest.mark.parametrize("lm_weight", [0.0, 0.7])
def test_an_unlimited_beam_equals_all_paths(lattice, lm_weight):
    rng, changed = np.random.default_rng(3), 0
    options = replace(EXACT, lm_weight=lm_weight, token_bonus=0.4)
    for seed in range(120):
        log_probs = lattice(int(rng.integers(2, 6)), 4, rng, zeros=0.1)
        hot = random_list(rng, LETTERS, float(rng.choice([0.7, 3.0])), "ab")
        lm, naive = BackoffLM(4, seed), oracle(hot, LETTERS)
        expected = {
            g: ctc + lm_weight * lm.sentence(g) + 0.4 * len(g) + naive(g)
            for g, ctc in enumerate_paths(log_probs).items()
        }
        [nbest] = prefix_beam_search([log_probs], options, lm, hot_words=hot)
        assert {h.tokens: h.score for h in nbest} == pytest.approx(expected)
        assert all(h.hot == pytest.approx(naive(h.tokens)) for h in nbest)
        [plain] = prefix_beam_search([log_probs], options, lm)
        changed += nbest[0].tokens != plain[0].tokens
    assert changed > 30


def test_a_limited_search_equals_the_textbook(lattice):
    """No extension is skipped that hot words would have saved."""
    rng = np.random.default_rng(4)
    for case in range(60):
        options = BeamOptions(
            beam_size=int(rng.choice([1, 2, 5, 12])),
            lm_weight=0.5,
            token_bonus=float(rng.choice([0.2, -1.0])),
            max_candidates=[None, 3][rng.integers(2)],
            blank_threshold=[None, 0.6][rng.integers(2)],
            recombine=False,
        )
        log_probs, lm = lattice(15, 5, rng, spread=2.0), BackoffLM(5, case)
        tokenizer = CharTokenizer(" abc")
        hot = random_list(rng, tokenizer, float(rng.choice([1, 4])))
        both = HotLM(lm, hot, tokenizer, 0.5)
        expected = naive_beam(log_probs, both, options)
        [nbest] = prefix_beam_search([log_probs], options, lm, hot_words=hot)
        assert [h.tokens for h in nbest] == [tokens for tokens, _ in expected]
        scores = [score for _, score in expected]
        assert [h.score for h in nbest] == pytest.approx(scores, abs=1e-9)


@pytest.mark.parametrize("limit", [2, 99])
def test_merging_keeps_what_hot_words_tell_apart(lattice, limit):
    rng, gained, better = np.random.default_rng(5), 0.0, 0
    options = BeamOptions(6, lm_weight=0.6, token_bonus=0.8, margin=0.0)
    for case in range(60):
        log_probs, lm = lattice(20, 4, rng), BackoffLM(4, case, kept=0.2)
        hot = replace(random_list(rng, LETTERS, 2.0, "ab"), limit=limit)
        naive, best = oracle(hot, LETTERS), {}
        for recombine in (False, True):
            merging = replace(options, recombine=recombine)
            [nbest] = prefix_beam_search([log_probs], merging, lm, hot)
            for h in nbest:
                assert h.hot == naive(h.tokens)
                assert h.lm == pytest.approx(lm.sentence(h.tokens))
                parts = h.ctc + 0.6 * h.lm + h.bonus + h.hot
                assert h.score == pytest.approx(parts)
            best[recombine] = nbest[0].score
        better += best[True] > best[False]
        gained += best[True] - best[False]
    assert better > 30
    assert gained > 5.0


def test_boost_0_is_bit_identical_to_no_list(lattice):
    rng, lm = np.random.default_rng(6), BackoffLM(4, 0)
    utterances = [lattice(30, 4, rng, spread=2.0) for _ in range(10)]
    hot = HotWords.build(["ab"], LETTERS, 0.0)
    for options in (BeamOptions(), BeamOptions(lm_weight=0.5)):
        off = prefix_beam_search(utterances, options, lm)
        assert prefix_beam_search(utterances, options, lm, hot) == off
        on = replace(hot, boost=1.0)
        assert prefix_beam_search(utterances, options, lm, on) != off


def test_a_batch_equals_one_by_one(lattice):
    rng, lm = np.random.default_rng(7), BackoffLM(4, 1)
    utterances = [lattice(frames, 4, rng) for frames in (11, 0, 25, 1)]
    options = BeamOptions(lm_weight=0.4, token_bonus=0.1)
    hot = HotWords.build(["ab", "b a"], LETTERS)
    together = prefix_beam_search(utterances, options, lm, hot)
    assert together == [
        prefix_beam_search([u], options, lm, hot)[0] for u in utterances
    ]


def peaks(tokenizer, *words):
    """Posteriors of words, a frame a letter; a word may be two, each likely."""
    rows = []
    for options in words:
        for letters in zip(*options, strict=True):
            row = np.full(tokenizer.size, 1e-7)
            for letter, share in zip(letters, options.values(), strict=True):
                row[tokenizer.encode(letter)] = share
            rows += [row, np.where(np.arange(tokenizer.size) == 1, 1.0, 1e-7)]
    rows = torch.tensor(np.array(rows[:-1]))
    return (rows / rows.sum(1, keepdim=True)).log()


@pytest.mark.parametrize(
    ("phrases", "limit", "words"),
    [
        # what has gained is another sum, but not of the same phrases
        ("abcd", 1, [{"a": 0.5, "b": 0.49}, {"d": 0.5, "c": 0.49}, *"ead"]),
        # the same phrases, but not as often
        ("a", 2, [{"a": 0.2, "b": 0.8}, *"eaea"]),
    ],
)
def test_what_has_gained_already_is_not_merged_away(phrases, limit, words):
    tokenizer = CharTokenizer(" abcde")
    words = [{word: 1.0} if isinstance(word, str) else word for word in words]
    frames = peaks(tokenizer, *words)
    hot = replace(HotWords.build(phrases, tokenizer, 2.0), limit=limit)
    lm = BackoffLM(tokenizer.size, 0, kept=0.0)
    options = replace(EXACT, beam_size=200, lm_weight=1e-3)
    best = []
    for recombine in (False, True):
        merging = replace(options, recombine=recombine)
        [nbest] = prefix_beam_search([frames], merging, lm, hot)
        best.append(nbest[0].tokens)
        assert all(h.hot == hot.gain(h.tokens) for h in nbest)
    assert best[0] == best[1]


def test_a_phrase_may_begin_within_one_that_gains_no_more():
    tokenizer, rng = CharTokenizer(" abcd"), np.random.default_rng(12)
    phrases = ["abcd abca", "abcd c", "abca d", "dd", "b"]
    hot = replace(HotWords.build(phrases, tokenizer, 2.0), limit=1)
    ids = tokenizer.encode("abcd abca b abcd abca d dd")
    lm = BackoffLM(tokenizer.size, 0)
    options = replace(EXACT, beam_size=5, lm_weight=0.1, recombine=False)
    for _ in range(12):
        logits = rng.normal(size=(2 * len(ids), tokenizer.size))
        logits[2 * np.arange(len(ids)), ids] += rng.choice([2, 3, 4])
        logits[1::2, 0] += 4
        frames = torch.from_numpy(logits).log_softmax(-1).float()
        both = HotLM(lm, hot, tokenizer, 0.1)
        expected = naive_beam(frames, both, options)
        [nbest] = prefix_beam_search([frames], options, lm, hot_words=hot)
        assert [h.tokens for h in nbest] == [tokens for tokens, _ in expected]


def confusable(tokenizer, text, other, rng):
    """Posteriors of a text where another one is nearly as probable."""
    said, heard = tokenizer.encode(text), tokenizer.encode(other)
    logits = rng.normal(size=(3 * len(said), tokenizer.size))
    logits[:, 0] += 7
    for i, (a, b) in enumerate(zip(said, heard, strict=True)):
        logits[3 * i, [0, a]] = 5, 7
        if a != b:
            logits[3 * i, [a, b]] = rng.normal(6, 0.7), rng.normal(7, 0.7)
    return torch.from_numpy(logits).log_softmax(-1)


def test_listed_words_are_recalled_where_others_sound_alike():
    tokenizer = CharTokenizer(" abcdefghijklmnopqrstuvwxyz")
    rng, options = np.random.default_rng(8), BeamOptions()
    said = ["take zantac now", "take it now", "the xanax is mine"] * 20
    other = ["take santak now", "take at now", "the sanax us mine"] * 20
    frames = [
        confusable(tokenizer, *texts, rng)
        for texts in zip(said, other, strict=True)
    ]
    listed = {"zantac", "xanax"}
    right, wrong = {}, {}
    for boost in (0.0, 1.5):
        hot = HotWords.build(listed, tokenizer, boost)
        nbest = prefix_beam_search(frames, options, hot_words=hot)
        found = [tokenizer.decode(h[0].tokens).split() for h in nbest]
        pairs = [(set(f) & listed, set(s.split()) & listed)
                 for f, s in zip(found, said, strict=True)]  # fmt: skip
        right[boost] = sum(len(f & s) for f, s in pairs)
        wrong[boost] = sum(len(f - s) for f, s in pairs)
    assert right[0.0] < 15 and right[1.5] > 30
    assert wrong[1.5] == 0


@pytest.mark.parametrize("boost", [1.5, 5.0])
@pytest.mark.parametrize("lm_weight", [0.0, 0.3])
def test_nothing_runs_away_where_posteriors_say_nothing(boost, lm_weight):
    rng, lm = np.random.default_rng(10), BackoffLM(4, 7)
    logits = torch.from_numpy(rng.normal(scale=0.1, size=(6, 200, 4)))
    frames = list(logits.log_softmax(-1))
    options = BeamOptions(lm_weight=lm_weight, token_bonus=-0.5)
    hot = HotWords.build(["abba", "babaa", "abab bbaa"], LETTERS, boost)

    def most(hot_words):
        found = prefix_beam_search(frames, options, lm, hot_words)
        texts = [
            f" {LETTERS.decode(h.tokens)} ".replace(" ", "  ")
            for nbest in found
            for h in nbest
        ]
        phrases = [f" {p} ".replace(" ", "  ")[1:-1] for p in hot.phrases]
        return max(text.count(p) for text in texts for p in phrases)

    assert most(None) == 0
    assert most(replace(hot, limit=99)) > 6
    for limit in (1, 3):
        assert most(replace(hot, limit=limit)) == limit


def test_bad_lists_are_one_clear_sentence():
    for boost in (-0.1, 5.1, math.nan, "2", True):
        with pytest.raises(UserError, match="hot_boost is .* from 0.0 to 5.0"):
            HotWords.build(["ab"], LETTERS, boost)
    for phrases in ([], ["ab", " "]):
        with pytest.raises(UserError, match="empty"):
            HotWords.build(phrases, LETTERS)
    with pytest.raises(UserError, match="outside the tokenizer: 'c'"):
        HotWords.build(["abc"], LETTERS)
    hot = HotWords.build(["ab", "a  b", "ab", "a b"], LETTERS)
    assert hot.phrases == ("ab", "a b")
    frames = torch.full((2, 3), 1 / 3).log()
    with pytest.raises(UserError, match="of 3 labels with hot words of 4"):
        prefix_beam_search([frames], BeamOptions(), hot_words=hot)


def test_without_spaces_a_phrase_stands_anywhere():
    tokenizer = CharTokenizer("今天气很好GPS ")
    hot = HotWords.build(["天气", "GPS"], tokenizer)
    gains = [
        hot.gain(tokenizer.encode(text))
        for text in ("今天天气很好", "天天气", "很GPS", "GPS很", "天", "天 气")
    ]
    assert gains == [2.0, 2.0, 0.0, 3.0, 0.0, 0.0]


TOKENIZER = CharTokenizer("abcé ")


@pytest.fixture
def listed(tmp_path):
    """Write a list; return its path."""

    def write(content):
        path = tmp_path / "drugs.txt"
        path.write_bytes(content)
        return path

    return write


def test_phrases_are_normalised_like_the_transcripts(listed):
    path = listed("\ufeffABBA,\r\n\n  cab - a\ncafe\u0301".encode())
    hot = read_hot_words(path, CharTokenizer("abcéf "), "english", 2.0)
    assert hot.phrases == ("abba", "cab a", "café")
    assert hot.boost == 2.0


@pytest.mark.parametrize(
    "content",
    [
        "ab, ba ab;c\n",
        "ab,ba ab,\nc\n",
        "# drugs, ward 3\nab\n\n  # ; more\nba ab\nc",
        "ab、ba ab，c",
        "ab؛ ba ab، c",
    ],
)
def test_a_line_each_or_commas_between(listed, content):
    hot = read_hot_words(listed(content.encode()), TOKENIZER)
    assert hot.phrases == ("ab", "ba ab", "c")


def test_a_comma_in_a_number_separates_nothing(listed):
    hot = read_hot_words(listed(b"a 1,000,b 2, c"), CharTokenizer("abc0123, "))
    assert hot.phrases == ("a 1,000", "b 2", "c")


def test_what_cannot_be_recognised_is_counted_and_named(listed, caplog):
    path = listed(b"abx, cab\n--\nab1x\n" + b"z\n" * 4)
    with caplog.at_level(logging.WARNING):
        assert read_hot_words(path, TOKENIZER, "english").phrases == ("cab",)
    assert caplog.messages == [
        f"{path}: 7 of 8 hot words cannot be recognised and are left out: "
        "'abx' (line 1), '--' (line 2), 'ab1x' (line 3), 'z' (line 4), 'z' "
        "(line 5) and 2 more; the model does not know 'x', '-', '1', 'z'"
    ]


def test_bad_files_are_one_clear_sentence(listed, tmp_path):
    for content in (b"", b"\n \n", b"# ab\n"):
        with pytest.raises(UserError, match="usable hot word; .* between them"):
            read_hot_words(listed(content), TOKENIZER)
    message = r"drugs.txt: has no usable hot word; .* \(2 of 2 hot words cannot"
    with pytest.raises(UserError, match=message):
        read_hot_words(listed(b"x\ny\n"), TOKENIZER)
    with pytest.raises(UserError, match="drugs.txt: is not UTF-8 .byte 2"):
        read_hot_words(listed(b"ab\xff"), TOKENIZER)
    with pytest.raises(UserError, match="gone.txt: cannot read .*No such file"):
        read_hot_words(tmp_path / "gone.txt", TOKENIZER)
    with pytest.raises(UserError, match="hot_boost is 9"):
        read_hot_words(listed(b"ab"), TOKENIZER, boost=9)
