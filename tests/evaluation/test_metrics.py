"""Error counts against an aligner written the slow way, and the edges."""

import random

import jiwer
import pytest

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.evaluation.metrics import (
    ErrorCounts,
    HotCounts,
    count_hot,
    oracle_texts,
    read_error_counts,
    score,
    write_alignments,
)


def levenshtein(reference, hypothesis):
    """Least number of edits, by the textbook table."""
    table = [list(range(len(hypothesis) + 1))]
    for i, said in enumerate(reference, start=1):
        row = [i]
        for j, heard in enumerate(hypothesis, start=1):
            row.append(
                min(
                    table[i - 1][j] + 1,
                    row[j - 1] + 1,
                    table[i - 1][j - 1] + (said != heard),
                )
            )
        table.append(row)
    return table[-1][-1]


def random_texts(rng, count, shortest):
    words = ["a", "bee", "sea", "dee", "éa", "non"]
    return [
        " ".join(rng.choices(words, k=rng.randint(shortest, 7)))
        for _ in range(count)
    ]


def one(reference, hypothesis):
    return score(["u1"], [reference], [hypothesis])


@pytest.mark.parametrize("seed", range(5))
def test_counts_agree_with_the_oracle(seed):
    rng = random.Random(seed)
    references, hypotheses = random_texts(rng, 40, 1), random_texts(rng, 40, 0)
    counts = score([str(i) for i in range(40)], references, hypotheses)
    pairs = list(zip(references, hypotheses, strict=True))
    word_pairs = [(r.split(), h.split()) for r, h in pairs]
    distances = [levenshtein(*pair) for pair in word_pairs]
    assert counts.word_errors == sum(distances)
    assert counts.wrong_utterances == sum(d > 0 for d in distances)
    assert counts.reference_words == sum(len(r) for r, _ in word_pairs)
    # What a hypothesis has beyond the reference must be insertions.
    assert counts.insertions - counts.deletions == sum(
        len(h) - len(r) for r, h in word_pairs
    )
    assert counts.character_errors == sum(levenshtein(*p) for p in pairs)
    assert counts.reference_characters == sum(map(len, references))
    assert counts.wer == sum(distances) / counts.reference_words


def test_each_kind_of_error_is_counted_as_itself():
    said, heard = "the left knee is swollen", "a the left hip is"
    counts = one(said, heard)
    assert counts == ErrorCounts(
        utterances=1,
        wrong_utterances=1,
        hits=3,
        substitutions=1,
        deletions=1,
        insertions=1,
        character_errors=levenshtein(said, heard),
        reference_characters=24,
    )
    assert counts.wer == pytest.approx(3 / 5)


def test_rates_are_of_the_sums_not_means_of_rates():
    counts = score(["a", "b"], ["x", "p q r"], ["y", "p q r"])
    assert counts.wer == pytest.approx(1 / 4)


def test_an_empty_hypothesis_is_deletions_only():
    counts = score(["a", "b"], ["one two", "three"], ["", " "])
    assert (counts.deletions, counts.substitutions, counts.insertions) == (
        3,
        0,
        0,
    )
    assert counts.hits == 0
    assert counts.wer == counts.cer == 1.0


def test_insertions_take_the_rate_above_one():
    assert one("yes", "oh yes it is").wer == 3.0


def test_white_space_makes_no_error():
    assert one("no  chest\tpain ", " no chest pain").cer == 0.0


@pytest.mark.parametrize("empty", ["", "  \t"])
def test_an_empty_reference_is_refused_with_its_id(empty):
    with pytest.raises(UserError, match="utt-7: the reference is empty"):
        score(["utt-6", "utt-7"], ["a", empty], ["a", "b"])


def test_many_empty_references_name_three_and_count_the_rest():
    ids = [f"u{i}" for i in range(10)]
    with pytest.raises(UserError, match=r"^u0, u1, u2 and 7 more: "):
        score(ids, [""] * 10, ["a"] * 10)


def test_duplicates_nothing_and_unequal_lists_are_refused():
    with pytest.raises(UserError, match="u1: the id stands more than once"):
        score(["u1", "u1"], ["a", "b"], ["a", "b"])
    with pytest.raises(UserError, match="no utterances"):
        score([], [], [])
    with pytest.raises(ValueError, match="2 ids, 2 references and 1 hyp"):
        score(["a", "b"], ["a", "b"], ["a"])


def test_errors_do_not_quote_the_transcripts():
    with pytest.raises(UserError) as caught:
        score(["u1", "u2"], ["secret words", ""], ["hidden", "b"])
    assert "secret" not in str(caught.value)


def test_alignment_file_shows_every_utterance(tmp_path):
    path = tmp_path / "new" / "alignments.txt"
    counts = write_alignments(
        path,
        ["u1", "u2", "u3"],
        ["the left knee hurt badly", "no pain", "was seen"],
        ["left hip hurt badly today", "", "was seen"],
    )
    assert counts == score(
        ["u1", "u2", "u3"],
        ["the left knee hurt badly", "no pain", "was seen"],
        ["left hip hurt badly today", "", "was seen"],
    )
    head, *blocks = path.read_text(encoding="utf-8").split("\n\n")
    assert head == "3 utterances, 9 words, WER 55.56 % (1 S, 3 D, 1 I)"
    first, second, third = (block.splitlines() for block in blocks)
    assert first[0] == "u1: 5 words, 1 S, 1 D, 1 I"
    assert first[1].split()[1:].count("*") == 1
    assert sorted("".join(first[3].split())) == ["D", "I", "S"]
    assert second == [
        "u2: 2 words, 0 S, 2 D, 0 I",
        "REF: no pain",
        "HYP: *  *",
        "     D  D",
    ]
    assert third == [
        "u3: 2 words, 0 S, 0 D, 0 I",
        "REF: was seen",
        "HYP: was seen",
    ]


def test_columns_line_up(tmp_path):
    path = tmp_path / "alignments.txt"
    write_alignments(path, ["u"], ["a cardiac murmur"], ["a short b murmur x"])
    _, said, heard, marks = path.read_text(encoding="utf-8").splitlines()[2:]
    for line in (heard, marks):
        assert len(line) <= len(said) + len(" x") + 1
    starts = [i for i, c in enumerate(marks) if c in "SDI"]
    for start in starts:
        assert said[start - 1] == heard[start - 1] == " "
        assert said[start : start + 1].strip() or heard[start].strip()


def test_without_spaces_characters_are_aligned(tmp_path):
    path = tmp_path / "alignments.txt"
    counts = write_alignments(path, ["u1"], ["今天天气好"], ["今天天汽"])
    assert not counts.has_words and score(["u"], ["ab"], ["ab"]).has_words
    assert path.read_text(encoding="utf-8").splitlines() == [
        "1 utterances, 5 characters, CER 40.00 % (1 S, 1 D, 0 I)",
        "",
        "u1: 5 characters, 1 S, 1 D, 0 I",
        "REF: 今 天 天 气 好",
        "HYP: 今 天 天 汽 *",
        "              S  D",
    ]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        ("take zantac now", "take zantac now", (1, 1, 0)),
        ("take zantac now", "take santak now", (1, 0, 0)),
        ("take it now", "take zantac now", (0, 0, 1)),
        ("zantac zantac zantac", "zantac zantac", (3, 2, 0)),
        ("zantac", "zantac zantac", (1, 1, 1)),
        ("new york city", "new york city", (2, 2, 0)),  # and "york city"
        ("new york city", "new york", (2, 1, 0)),
        ("new york", "new old york", (1, 0, 0)),
        ("new old york", "new york", (0, 0, 1)),
        ("zantacs", "zantac", (0, 0, 1)),
        ("zantac", "", (1, 0, 0)),
    ],
)
def test_occurrences(reference, hypothesis, counts):
    listed = ["zantac", "new york", "york city"]
    found = count_hot([reference], [hypothesis], listed)
    assert found == HotCounts(*counts)


def test_without_spaces_phrases_stand_anywhere():
    found = count_hot(
        ["今天天气很好", "很好"], ["今天天汽很好", "好"], ["天气", "很好"]
    )
    assert found == HotCounts(said=3, found=1, inserted=0)


def test_counts_are_summed_and_divided_once():
    listed = ["a", "b c"]
    found = count_hot(["a b c x", "a", "x"], ["a x c x", "a", "a"], listed)
    assert found == HotCounts(said=3, found=2, inserted=1)
    assert found.recall == pytest.approx(2 / 3)


def test_the_oracle_has_the_fewest_errors():
    rng = random.Random(0)
    words = ["no", "chest", "pain", "today"]
    texts = [" ".join(rng.choices(words, k=n % 5 + 1)) for n in range(60)]
    references = rng.sample(texts, 60)
    nbests = [rng.choices(texts, k=n % 6 + 1) for n in range(60)]
    chosen = oracle_texts(references, nbests)
    for said, nbest, text in zip(references, nbests, chosen, strict=True):
        errors = [jiwer.wer(said, heard) for heard in nbest]
        assert text == nbest[errors.index(min(errors))]


def test_the_oracle_counts_characters_where_there_are_no_spaces():
    nbest = ["今天天汽很坏", "今天天气很坏"]
    assert oracle_texts(["今天天气很好"], [nbest]) == [nbest[1]]


def test_counts_of_each_utterance_are_read_back(tmp_path):
    path = tmp_path / "nar.txt"
    ids = ["a: 3 words, 0 S, 1 D, 0 I", "b", "c"]
    said = ["x y z", "HYP: 3 words, 1 S, 0 D, 0 I", "x"]
    write_alignments(path, ids, said, ["x z", "x", "x y"])
    found = read_error_counts(path)
    assert list(found) == ids
    for key, reference, heard in zip(
        ids, said, ["x z", "x", "x y"], strict=True
    ):
        errors, total = found[key]
        assert errors / total == pytest.approx(jiwer.wer(reference, heard))


def test_a_file_without_alignments_is_refused(tmp_path):
    (tmp_path / "nar.txt").write_text("no alignment\n")
    with pytest.raises(UserError, match="holds no alignment; evaluate again"):
        read_error_counts(tmp_path / "nar.txt")
