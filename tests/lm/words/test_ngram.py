"""Word n-grams over pieces: KenLM's numbers, unknown words, bad files."""

import gzip
import math
import os
import random

import kenlm
import numpy as np
import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.arpa import read_words
from nar_asr_lobes.lm.ngram.kneser_ney import estimate
from nar_asr_lobes.lm.ngram.lookup import NgramLM, score_sentence
from nar_asr_lobes.lm.ngram.states import build_tables
from nar_asr_lobes.lm.ngram.tables import NgramInfo
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lm.words.lexicon import make_lexicon
from nar_asr_lobes.lm.words.ngram import convert_arpa, train_word_ngram

TOKENIZER = CharTokenizer(" abcd")
SRILM = """
\\data\\
ngram 1=7
ngram 2=6
ngram 3=2

\\1-grams:
-0.9\t</s>
-99\t<s>\t-0.3
-1.2\t<unk>\t-0.1
-0.8\ta\t-0.2
-0.7\tab\t0.1
-0.9\tbxd
-1.1\tcd\t-0.15

\\2-grams:
-0.4\t<s> a\t-0.25
-0.5\t<unk> cd
-0.3\ta ab\t-0.05
-0.6\tab cd
-0.2\ta <unk>
-0.3\ta bxd

\\3-grams:
-0.1\t<s> a ab
-0.2\ta ab a

\\end\\
"""


def sentences(words, count, seed=0):
    """Make random sentences; a fifth of their words are random letters."""
    rng = random.Random(seed)

    def word():
        if rng.random() < 0.2:
            return "".join(rng.choices("abcd", k=rng.randint(1, 5)))
        return words[int(len(words) * rng.random() ** 2)]

    return [
        " ".join(word() for _ in range(rng.randint(1, 7))) for _ in range(count)
    ]


@pytest.fixture(scope="module")
def text():
    """300 lines over some 40 words, and 1 to 5 letters each."""
    rng = random.Random(1)
    words = [
        "".join(rng.choices("abcd", k=rng.randint(1, 4))) for _ in "x" * 50
    ]
    return words, sentences(words, 300)


def spelling(words, tokenizer):
    """Return the function that scores how an unknown word is spelled."""
    lexicon = make_lexicon(words, tokenizer)
    letters = estimate(lexicon.pieces, np.diff(lexicon.begin), 3)
    tables = build_tables(letters, tokenizer.size)
    return lambda word: score_sentence(tables, np.array(tokenizer.encode(word)))


def assert_kenlms(ngram, arpa, lines, tokenizer=TOKENIZER):
    """Compare sentences with KenLM's scores of an ARPA file."""
    oracle = kenlm.Model(str(arpa))
    known = sorted(w for w in read_words(arpa) if "x" not in w)
    spell = spelling(known, tokenizer)
    lm, unknown = NgramLM.load(ngram, tokenizer), 0
    for line in lines:
        wanted = oracle.score(line) * math.log(10)
        outside = [word for word in line.split() if word not in oracle]
        wanted += sum(map(spell, outside))
        unknown += len(outside)
        found = lm.sentence(tokenizer.encode(line))
        assert found == pytest.approx(wanted, abs=1e-4), line
    assert unknown > len(lines) / 10


@pytest.mark.parametrize("min_count", [1, 9])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("kind", ["char", "unigram", "bpe"])
def test_sentences_cost_what_kenlm_says(tmp_path, text, kind, order, min_count):
    words, lines = text
    path = tmp_path / "lm.arpa"
    tokenizer = TOKENIZER
    if kind != "char":
        tokenizer = train_tokenizer(lines, kind, 24)
    report = train_word_ngram(
        lines, tokenizer, order, path, (), None, min_count
    )
    assert report.path == tmp_path / "lm.ngram"
    assert report.info == NgramInfo(
        tokenizer.fingerprint, order, 300, 0, "numpy", "words"
    )
    assert report.tokens == sum(len(line.split()) for line in lines)
    assert len(report.ngrams) == order
    counts = [
        sum(f" {w} " in f" {x} " for x in lines) for w in read_words(path)
    ]
    assert report.ngrams[0] == len(counts) + 3
    assert min(counts) < 9 or min_count == 9
    asked = sentences(words, 400, seed=2)
    assert_kenlms(report.path, path, asked, tokenizer)


def test_pruned_models_too(tmp_path, text):
    words, lines = text
    path = tmp_path / "lm.arpa"
    report = train_word_ngram(lines, TOKENIZER, 3, path, (0, 0, 2))
    whole = train_word_ngram(lines, TOKENIZER, 3, tmp_path / "w.arpa")
    assert report.ngrams[2] < whole.ngrams[2]
    assert_kenlms(report.path, path, sentences(words, 100, seed=3))


SRILM_PIECES = """
\\data\\
ngram 1=6
ngram 2=4
ngram 3=1

\\1-grams:
-0.9\t</s>
-99\t<s>\t-0.3
-1.2\t<unk>
-0.8\ta\t-0.2
-0.7\t▁\t0.1
-1.1\tb\t-0.15

\\2-grams:
-0.4\t<s> a\t-0.25
-0.3\ta ▁
-0.2\ta <unk>
-0.2\tb </s>

\\3-grams:
-0.1\t<s> a b

\\end\\
"""


def test_pieces_of_another_program(tmp_path):
    """Without the bigram that ends the trigram, and with <unk> in another."""
    arpa, tokenizer = tmp_path / "srilm.arpa", CharTokenizer(" ab")
    arpa.write_text(SRILM_PIECES)
    report = convert_arpa(arpa, tokenizer, tmp_path / "lm.ngram")
    assert report.info == NgramInfo(
        tokenizer.fingerprint, 3, 0, 0, "arpa", "pieces"
    )
    assert report.ngrams == (6, 4, 1)  # "a b" for "a <unk>"
    lm = NgramLM.load(report.path, tokenizer)
    for text, wanted in [
        ("ab", -0.4 - 0.1 - 0.2),
        ("a b", -0.4 - 0.25 - 0.3 + 0.1 - 1.1 - 0.2),
        ("bb", -0.3 - 1.1 - 0.15 - 1.1 - 0.2),
    ]:
        found = lm.sentence(tokenizer.encode(text)) / math.log(10)
        assert found == pytest.approx(wanted, abs=1e-5), text


def test_pieces_of_another_tokenizer_are_told(tmp_path):
    arpa = tmp_path / "srilm.arpa"
    arpa.write_text(SRILM_PIECES)
    with pytest.raises(UserError, match="srilm.arpa: its word 'b' is neither"):
        convert_arpa(arpa, CharTokenizer(" a"), tmp_path / "lm.ngram")


def test_a_file_of_another_program(tmp_path):
    """It lacks an ending and a piece for x, and has <unk> in odd places."""
    (tmp_path / "s.arpa").write_text("made by hand\n" + SRILM)
    path = tmp_path / "new" / "lm.ngram"
    report = convert_arpa(tmp_path / "s.arpa", TOKENIZER, path)
    assert report.info == NgramInfo(
        TOKENIZER.fingerprint, 3, 0, 0, "arpa", "words"
    )
    assert report.words_left_out == ("bxd",)
    assert report.ngrams == (6, 5, 2)  # "ab a" is added
    # without what is left out, KenLM agrees
    kept = SRILM.replace("-0.2\ta <unk>\n-0.3\ta bxd\n", "")
    (tmp_path / "kept.arpa").write_text(kept.replace("ngram 2=6", "ngram 2=4"))
    lines = sentences(["a", "ab", "cd", "a"], 200)
    assert_kenlms(path, tmp_path / "kept.arpa", lines)
    pieces = train_tokenizer(["ab cd a", "abcd dab"], "unigram", 9)
    convert_arpa(tmp_path / "s.arpa", pieces, path)
    assert_kenlms(path, tmp_path / "kept.arpa", lines, pieces)


def test_capital_words_through_a_style(tmp_path):
    arpa = (
        "\n".join(
            line.upper() if line.startswith("-") else line
            for line in SRILM.replace("<unk>", "<UNK>").split("\n")
        )
        .replace("<S>", "<s>")
        .replace("</S>", "</s>")
    )
    (tmp_path / "s.arpa").write_text(arpa)
    with pytest.raises(UserError, match=r"s.arpa: none of the 4 words \('A'"):
        convert_arpa(tmp_path / "s.arpa", TOKENIZER, tmp_path / "lm.ngram")
    upper = convert_arpa(
        tmp_path / "s.arpa", TOKENIZER, tmp_path / "lm.ngram", "english"
    )
    (tmp_path / "t.arpa").write_text(SRILM)
    lower = convert_arpa(tmp_path / "t.arpa", TOKENIZER, tmp_path / "t.ngram")
    assert upper.path.read_bytes() == lower.path.read_bytes()


def cased(lines, seed=4):
    """Begin each line with a capital, and a third of all other words."""
    rng = random.Random(seed)
    return [
        " ".join(
            word.capitalize() if not i or rng.random() < 0.3 else word
            for i, word in enumerate(line.split())
        )
        for line in lines
    ]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_spellings_that_a_style_makes_one_are_joined(tmp_path, text, order):
    """The model is as good as one of normalised text, and nothing is lost."""
    words, lines = text
    letters = CharTokenizer(" abcdABCD")
    train_word_ngram(lines, TOKENIZER, order, tmp_path / "lower.arpa")
    upper = train_word_ngram(
        cased(lines), letters, order, tmp_path / "upper.arpa"
    )
    report = convert_arpa(
        upper.arpa, TOKENIZER, tmp_path / "lm.ngram", "english"
    )
    vocabulary = set(" ".join(lines).split())
    assert report.ngrams[0] == len(vocabulary) + 3
    assert report.words_joined == upper.ngrams[0] - 3 - len(vocabulary) > 20
    assert report.words_left_out == () and report.share_left_out == 0
    new = sentences(words, 200, seed=9)
    new = [line for line in new if vocabulary.issuperset(line.split())]

    def nats(path):
        lm = NgramLM.load(path, TOKENIZER)
        total = sum(lm.sentence(TOKENIZER.encode(line)) for line in new)
        return -total / sum(len(line.split()) + 1 for line in new)

    wanted = nats(tmp_path / "lower.ngram")
    assert nats(report.path) == pytest.approx(wanted, abs=0.06)


def test_what_is_lost_is_counted(tmp_path):
    """By unigrams: 10 ** -0.9 of all but <s>."""
    (tmp_path / "s.arpa").write_text(SRILM)
    report = convert_arpa(tmp_path / "s.arpa", TOKENIZER, tmp_path / "lm.ngram")
    logs = [-0.9, -1.2, -0.8, -0.7, -0.9, -1.1]
    wanted = 10**-0.9 / sum(10**log for log in logs)
    assert report.share_left_out == pytest.approx(wanted)
    assert report.words_joined == 0


def test_without_unk_unknown_words_are_as_kenlm_has_them(tmp_path):
    lines = [line for line in SRILM.split("\n") if "<unk>" not in line]
    arpa = "\n".join(lines).replace("1=7", "1=6").replace("2=6", "2=4")
    (tmp_path / "s.arpa").write_text(arpa)
    path = tmp_path / "lm.ngram"
    convert_arpa(tmp_path / "s.arpa", TOKENIZER, path)
    assert_kenlms(path, tmp_path / "s.arpa", sentences(["a", "cd"], 50))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\\end\\\n", "", "is not a whole ARPA file .its end is missing"),
        ("ngram 2=6", "ngram 2=5", "has more 2-grams than its head says"),
        ("ngram 2=6", "ngram 2=7", "is not a whole ARPA file"),
        ("ngram 2=6", "ngram 2=six", "is not a whole ARPA file"),
        ("\\data\\", "\\1-grams:", "it has no line .data"),
        ("-0.7\tab", "nan\tab", "unigram_log_prob is not in"),
        ("-0.1\t<s> a", "nan\t<s> a", "arc_log_prob is not in"),
        ("-0.7\tab", "0.7\tab", "unigram_log_prob is not in"),
        ("\tab\t0.1", "\tab\tnan", "backoff is not in"),
        ("-0.4\t<s> a", "-0.4\tcd a", "the beginning of an n-gram is missing"),
        ("\tab cd", "\tab ce", "its word 'ce' is neither a unigram"),
        ("\tab cd", "\ta ab", "an n-gram stands twice"),
        ("\t</s>", "\tc", "<s> or </s> is missing"),
    ],
)
def test_files_that_are_no_model(tmp_path, old, new, message):
    assert old in SRILM
    (tmp_path / "s.arpa").write_text(SRILM.replace(old, new, 1))
    with pytest.raises(UserError, match=f"s.arpa: .*{message}"):
        convert_arpa(tmp_path / "s.arpa", TOKENIZER, tmp_path / "lm.ngram")
    assert not (tmp_path / "lm.ngram").exists()


def no_blank_lines(text):
    return "\n".join(filter(None, text.split("\n"))) + "\n"


FORMS = {
    "no blank lines": no_blank_lines,
    "many blank lines": lambda text: text.replace("\n\n", "\n \n\n\n"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "tabs": lambda text: text.replace("<s> ", "<s>\t").replace(
        "ab cd", "ab\tcd"
    ),
    "spaces": lambda text: text.replace("\t", "  "),
    "Windows": lambda text: text.replace("\n", "\r\n"),
    "a head": lambda text: f"\ufeffngram 1=5\n# \\1-grams:\n{text}",
    "Windows, gzip": lambda text: gzip.compress(
        no_blank_lines(text).replace("\n", "\r\n").encode()
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_files_that_kenlm_reads_in_one_form_or_another(tmp_path, form):
    """Each gives the tables of the plain file, which KenLM scores alike."""
    plain = SRILM.replace("-0.2\ta <unk>\n-0.3\ta bxd\n", "")
    plain = plain.replace("ngram 2=6", "ngram 2=4").lstrip("\n")
    (tmp_path / "plain.arpa").write_text(plain)
    content = FORMS[form](plain)
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "s.arpa").write_bytes(content)
    path = tmp_path / "lm.ngram"
    convert_arpa(tmp_path / "s.arpa", TOKENIZER, path)
    assert_kenlms(path, tmp_path / "plain.arpa", sentences(["a", "cd"], 50))
    wanted = convert_arpa(
        tmp_path / "plain.arpa", TOKENIZER, tmp_path / "w.ngram"
    )
    assert path.read_bytes() == wanted.path.read_bytes()


@pytest.mark.parametrize("unknown", ["", "-1.2\t<unk>\n"])
def test_a_file_of_unigrams_only(tmp_path, unknown):
    """KenLM reads none, so the numbers are those of the file."""
    lines = f"-0.9\t</s>\n-99\t<s>\n{unknown}-0.8\ta\n-0.7\tab\n"
    head = f"\\data\\\nngram 1={lines.count(chr(10))}\n\\1-grams:\n"
    (tmp_path / "s.arpa").write_text(f"{head}{lines}\\end\\\n")
    report = convert_arpa(tmp_path / "s.arpa", TOKENIZER, tmp_path / "a.ngram")
    assert report.info.order == 1
    lm = NgramLM.load(report.path, TOKENIZER)
    found = lm.sentence(TOKENIZER.encode("a ab a"))
    assert found == pytest.approx(math.log(10) * (-0.8 - 0.7 - 0.8 - 0.9))
    spelled = spelling(["a", "ab"], TOKENIZER)("b")
    wanted = math.log(10) * ((-1.2 if unknown else -100) - 0.9) + spelled
    assert lm.sentence(TOKENIZER.encode("b")) == pytest.approx(wanted)


def test_a_binary_file_of_kenlm_is_told(tmp_path):
    head = b"mmap lm http://kheafield.com/code format version 5\n\0"
    (tmp_path / "s.arpa").write_bytes(head + bytes(99))
    message = "s.arpa: is a binary file of KenLM, not the ARPA file"
    with pytest.raises(UserError, match=message):
        convert_arpa(tmp_path / "s.arpa", TOKENIZER, tmp_path / "lm.ngram")


def test_damaged_gzip_and_other_encodings_are_told(tmp_path):
    zipped = gzip.compress(SRILM.encode())
    (tmp_path / "s.arpa").write_bytes(zipped[:-20])
    with pytest.raises(UserError, match="s.arpa: is not a whole ARPA file"):
        convert_arpa(tmp_path / "s.arpa", TOKENIZER, tmp_path / "lm.ngram")
    latin = SRILM.replace("\tcd", "\tcd\xe9").encode("latin-1")
    (tmp_path / "s.arpa").write_bytes(latin)
    with pytest.raises(UserError, match="its words are not UTF-8 text; conv"):
        convert_arpa(tmp_path / "s.arpa", TOKENIZER, tmp_path / "lm.ngram")


def test_a_file_cut_anywhere(tmp_path):
    for length in range(len(SRILM) - 1):
        (tmp_path / "s.arpa").write_text(SRILM[:length])
        with pytest.raises(UserError, match="s.arpa: .*; copy it again"):
            convert_arpa(tmp_path / "s.arpa", TOKENIZER, tmp_path / "lm.ngram")


def test_a_file_that_is_missing_or_no_text(tmp_path):
    with pytest.raises(UserError, match="nowhere.arpa: cannot be read"):
        convert_arpa(tmp_path / "nowhere.arpa", TOKENIZER, tmp_path / "a.ngram")
    (tmp_path / "a.arpa").write_bytes(b"\x1f\x8b\xff")
    with pytest.raises(UserError, match="a.arpa: is not a whole ARPA file"):
        convert_arpa(tmp_path / "a.arpa", TOKENIZER, tmp_path / "a.ngram")


@pytest.mark.parametrize("words", ["a b", "<s> b", "\x01 b", "<rare> b"])
def test_any_word_may_stand_in_a_text(tmp_path, words):
    """Those that a language model would misread are unknown words."""
    tokenizer = CharTokenizer(" ab<>sre/\x01")
    path = tmp_path / "lm.arpa"
    report = train_word_ngram([words, "b b"], tokenizer, 2, path)
    kenlm.Model(str(path))
    known = words.split()[0] in ("a", "<rare>")
    assert report.ngrams[0] == 4 + known
    NgramLM.load(report.path, tokenizer).sentence(tokenizer.encode(words))


def test_lines_left_out_and_an_older_model(tmp_path):
    path = tmp_path / "lm.arpa"
    lines = ["ab a", "a x", "", "b"]
    report = train_word_ngram(lines, TOKENIZER, 2, path)
    assert (report.info.lines_used, report.info.lines_left_out) == (2, 2)
    assert report.unknown_characters == ("x",)
    assert sorted(os.listdir(tmp_path)) == ["lm.arpa", "lm.ngram"]
    before = path.read_bytes()
    with pytest.raises(UserError, match="no word of the text occurs 3 times"):
        train_word_ngram(lines, TOKENIZER, 2, path, (), None, min_count=3)
    with pytest.raises(UserError, match="min_count is 0; it must be a whole"):
        train_word_ngram(lines, TOKENIZER, 2, path, min_count=0)
    assert path.read_bytes() == before


def test_tokenizers_that_cannot_end_a_word(tmp_path):
    message = "over pieces, or .* on text of several words"
    tokenizer = CharTokenizer("ab")
    with pytest.raises(UserError, match=message):
        train_word_ngram(["ab"], tokenizer, 2, tmp_path / "lm.arpa")
    (tmp_path / "s.arpa").write_text(SRILM)
    with pytest.raises(UserError, match=message):
        convert_arpa(tmp_path / "s.arpa", tokenizer, tmp_path / "lm.ngram")


def test_names_that_are_not_of_such_a_file(tmp_path):
    with pytest.raises(UserError, match="let it end in .arpa"):
        train_word_ngram(["ab"], TOKENIZER, 2, tmp_path / "lm.ngram")
    with pytest.raises(UserError, match="let it end in .ngram"):
        convert_arpa(tmp_path / "s.arpa", TOKENIZER, tmp_path / "lm.arpa")


def test_a_model_of_pieces_says_so(tmp_path):
    report = train_ngram(["ab"], TOKENIZER, 2, tmp_path / "lm.arpa")
    assert report.info.unit == "pieces"
