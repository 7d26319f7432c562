"""What both trainings refuse; the estimates are tested with each of them."""

import itertools
import os
from pathlib import Path

import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.estimation import (
    checked_name,
    make_folder,
    thresholds,
    work_folder,
)
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lm.words.ngram import train_word_ngram


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
    with pytest.raises(UserError, match="a: cannot be made"):
        make_folder(tmp_path / "a" / "lm.arpa")


@pytest.mark.parametrize("train", [train_ngram, train_word_ngram])
def test_a_full_disk_is_told_and_the_older_model_stays(
    tmp_path, train, full_disk
):
    tokenizer = CharTokenizer("abcd ")
    path = tmp_path / "lm.arpa"
    train(["ab"], tokenizer, 2, path, use_lmplz=False)
    before = path.read_bytes()
    lines = [
        " ".join(p) for p in itertools.permutations(["ab", "cd", "b", "d"])
    ]
    message = rf"^{tmp_path}: cannot be written \(.*; [0-9.]+ GB free on"
    with full_disk(), pytest.raises(UserError, match=message):
        train(lines, tokenizer, 4, path, use_lmplz=False)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["lm.arpa", "lm.ngram"]


def test_a_folder_that_cannot_be_written_is_told():
    """Of /proc, as an administrator may write to folders of any mode."""
    if not os.path.isdir("/proc/self"):
        pytest.skip("there is no /proc here")
    message = r"^/proc: cannot be written \(.*; 0 MB free on that disk"
    with (
        pytest.raises(UserError, match=message),
        work_folder(Path("/proc/lm.arpa")),
    ):
        pass
    with pytest.raises(UserError, match="^/proc: cannot be written"):
        train_ngram(["ab"], CharTokenizer("ab"), 2, "/proc/lm.arpa")
