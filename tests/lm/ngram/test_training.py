"""Training: what is written, what is refused, and lmplz's numbers."""

import itertools
import os
import shutil

import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lm.ngram.tables import NgramInfo, read_ngram
from nar_asr_lobes.lm.ngram.training import (
    checked_name,
    thresholds,
    train_ngram,
)
from nar_asr_lobes.lm.words.ngram import train_word_ngram

TOKENIZER = CharTokenizer("ab ")
LMPLZ = shutil.which("lmplz", path=os.environ.get("KENLM_BIN") or None)


@pytest.mark.parametrize(
    ("name", "prune"),
    [("notes.1", ()), ("notes.3", ()), ("notes.4.prune-0-0-1", (0, 0, 1))],
)
def test_characters_of_a_text_as_lmplz_has_them(
    name,
    prune,
    tmp_path,
    reference_text,
    reference_arpa,
    read_arpa,
    assert_equal,
):
    lines = reference_text("notes")
    tokenizer = train_tokenizer(lines, "char")
    order = int(name.split(".")[1])
    path = tmp_path / "lm.arpa"
    report = train_ngram(lines, tokenizer, order, path, prune)
    assert_equal(read_arpa(path), reference_arpa(name))
    assert report.info.estimator == "numpy"
    assert len(report.ngrams) == order
    assert sum(report.ngrams) == len(reference_arpa(name))


@pytest.mark.skipif(LMPLZ is None, reason="no lmplz in $KENLM_BIN or on PATH")
@pytest.mark.parametrize("prune", [(), (0, 0, 1)])
@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("text", ["notes", "chant", "gap", "tiny"])
def test_equal_to_lmplz_where_it_is_found(
    text, order, prune, tmp_path, reference_text, read_arpa, assert_equal
):
    lines = reference_text(text)
    tokenizer = train_tokenizer(lines, "char")
    found = []
    for lmplz in (LMPLZ, None):
        path = tmp_path / f"{bool(lmplz)}.arpa"
        report = train_ngram(
            lines, tokenizer, order, path, prune[:order], lmplz
        )
        found.append((read_arpa(path), report.info.estimator))
        NgramLM.load(report.path, tokenizer)
    assert [estimator for _, estimator in found] == ["lmplz", "numpy"]
    assert_equal(found[1][0], found[0][0])


@pytest.fixture
def program(tmp_path):
    """Return the function that writes a shell script named lmplz."""

    def write(script):
        path = tmp_path / "lmplz"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return write


@pytest.mark.parametrize("train", [train_ngram, train_word_ngram])
def test_lmplz_is_given_the_words_and_options(program, tmp_path, train):
    path = tmp_path / "lm.arpa"
    train(["ab a", "b"], TOKENIZER, 2, path)
    wanted = path.read_text()
    fake = program(
        f"echo $* > {tmp_path}/options; cat $6 > {tmp_path}/text; cp {path} $8"
    )
    report = train(["ab a", "b"], TOKENIZER, 2, path, (0, 1), fake)
    assert report.info.estimator == "lmplz"
    assert path.read_text() == wanted
    text = (tmp_path / "text").read_text()
    pieces = train is train_ngram
    assert text == (" a b ▁ a\n b\n" if pieces else " ab a\n b\n")
    options = (tmp_path / "options").read_text()
    assert options.startswith("--order 2 --memory 1G --text ")
    assert options.endswith("--discount_fallback --prune 0 1\n")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo a >&2; echo out of memory >&2; exit 7", r"7 \(out of memory\)"),
        ("exit 1", r"status 1 \(no message\); give the path"),
    ],
)
def test_failures_of_lmplz_are_told(program, tmp_path, script, message):
    path = tmp_path / "lm.arpa"
    with pytest.raises(UserError, match=message):
        train_ngram(["ab"], TOKENIZER, 2, path, (), program(script))
    with pytest.raises(UserError, match="none: cannot be started"):
        train_ngram(["ab"], TOKENIZER, 2, path, (), str(tmp_path / "none"))
    assert os.listdir(tmp_path) == ["lmplz"]


def test_report_and_files(tmp_path):
    lines = ["ab a", "", "b-", "ba", "b!", "b"]
    path = tmp_path / "new" / "folder" / "lm.arpa"
    report = train_ngram(lines, TOKENIZER, 2, str(path))
    assert report.arpa == path
    assert report.path == path.parent / "lm.ngram"
    assert (report.tokens, report.ngrams[0]) == (7, 6)
    assert report.unknown_characters == ("!", "-")
    assert report.info == NgramInfo(TOKENIZER.fingerprint, 2, 3, 3, "numpy")
    assert read_ngram(report.path, TOKENIZER)[1] == report.info
    assert sorted(os.listdir(path.parent)) == ["lm.arpa", "lm.ngram"]


def test_lines_left_out_are_told(tmp_path, caplog):
    train_ngram(["a", "secret name"], TOKENIZER, 2, tmp_path / "a.arpa")
    assert "1 lines" in caplog.text
    assert "secret" not in caplog.text


def test_training_again_replaces_the_model(tmp_path):
    """The older one, if in use, stays as it was."""
    path = tmp_path / "lm.arpa"
    report = train_ngram(["ab"], TOKENIZER, 2, path)
    older = NgramLM.load(report.path, TOKENIZER)
    before = older.sentence([2, 3])
    train_ngram(["ba", "aa"], TOKENIZER, 3, path)
    newer = NgramLM.load(report.path, TOKENIZER)
    assert newer.sentence([2, 3]) != before
    assert older.sentence([2, 3]) == before
    assert newer.info.order == 3


def test_same_text_gives_the_same_files(tmp_path):
    for name in ("x.arpa", "y.arpa"):
        train_ngram(
            ["ab a", "b"],
            TOKENIZER,
            3,
            tmp_path / name,
        )
    for suffix in (".arpa", ".ngram"):
        first = (tmp_path / "x").with_suffix(suffix).read_bytes()
        assert first == (tmp_path / "y").with_suffix(suffix).read_bytes()


@pytest.mark.parametrize("name", ["lm", "lm.ngram", "lm.arpa.gz"])
def test_names_that_are_not_of_an_arpa_file(tmp_path, name):
    with pytest.raises(UserError, match=f"{name}: .* let it end in .arpa"):
        train_ngram(["ab"], TOKENIZER, 2, tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("order", [-1, 0, 65])
def test_order_out_of_range(tmp_path, order):
    with pytest.raises(UserError, match=f"order {order} is not in 1 to 64"):
        train_ngram(["ab"], TOKENIZER, order, tmp_path / "lm.arpa")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("prune", [(1,), (0, 2, 1), (0, 0, 0, 0), (0, -1)])
def test_thresholds_that_make_no_model(tmp_path, prune):
    with pytest.raises(UserError, match="does not suit an n-gram of order 3"):
        train_ngram(["ab"], TOKENIZER, 3, tmp_path / "lm.arpa", prune)


def test_no_usable_line_leaves_the_older_model(tmp_path):
    path = tmp_path / "lm.arpa"
    report = train_ngram(["ab"], TOKENIZER, 2, path)
    with pytest.raises(UserError, match="no line of text can be used"):
        train_ngram(["", "x"], TOKENIZER, 2, path)
    assert NgramLM.load(report.path, TOKENIZER).sentence([2]) < 0


@pytest.mark.parametrize("prune", [(), (0,), (0, 0, 0)])
def test_thresholds_are_filled_up(prune):
    assert thresholds(3, prune) == (0, 0, 0)
    assert thresholds(4, (0, 1)) == (0, 1, 1, 1)


@pytest.mark.parametrize(("order", "prune"), [(0, ()), (65, ()), (2, (1,))])
def test_orders_and_thresholds_that_do_not_do(order, prune):
    with pytest.raises(UserError, match="choose 4|does not suit"):
        thresholds(order, prune)


def test_a_name_must_end_as_the_file_does(tmp_path):
    assert checked_name(str(tmp_path / "a.ngram"), ".ngram").parent == tmp_path
    with pytest.raises(UserError, match="a.arpa: .* let it end in .ngram"):
        checked_name(tmp_path / "a.arpa", ".ngram")


def test_a_folder_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match="lm.arpa: cannot be written"):
        train_ngram(["ab"], TOKENIZER, 2, tmp_path / "a" / "lm.arpa")


@pytest.mark.parametrize("train", [train_ngram, train_word_ngram])
def test_a_full_disk_is_told_and_the_older_model_stays(
    tmp_path, train, full_disk
):
    tokenizer = CharTokenizer("abcd ")
    path = tmp_path / "lm.arpa"
    train(["ab"], tokenizer, 2, path)
    before = path.read_bytes()
    lines = [
        " ".join(p) for p in itertools.permutations(["ab", "cd", "b", "d"])
    ]
    message = rf"^{path}: cannot be written \(.*; [0-9.]+ GB free on"
    with full_disk(), pytest.raises(UserError, match=message):
        train(lines, tokenizer, 4, path)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["lm.arpa", "lm.ngram"]


def test_a_folder_that_cannot_be_written_is_told():
    """Of /proc, as an administrator may write to folders of any mode."""
    if not os.path.isdir("/proc/self"):
        pytest.skip("there is no /proc here")
    message = r"^/proc/lm.arpa: cannot be written \(.*; 0 MB free on that"
    with pytest.raises(UserError, match=message):
        train_ngram(["ab"], CharTokenizer("ab"), 2, "/proc/lm.arpa")
