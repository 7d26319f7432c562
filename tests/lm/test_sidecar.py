"""A model without its sidecar, or one that does not fit, is refused."""

import json
import shutil

import pytest

from nar_asr_lobes.dataio.tokenizer import CharTokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram import train_ngram
from nar_asr_lobes.lm.sidecar import check_sidecar, sidecar_path

TOKENIZER = CharTokenizer("ab")


@pytest.fixture
def path(tmp_path):
    """A trained model."""
    path = tmp_path / "lm.arpa"
    train_ngram(["ab", "ba", "b"], TOKENIZER, 2, path, use_lmplz=False)
    return path


def test_both_files_can_be_copied_anywhere(path, tmp_path):
    target = tmp_path / "bundle" / "other name"
    target.parent.mkdir()
    shutil.copy(path, target)
    shutil.copy(sidecar_path(path), sidecar_path(target))
    sidecar = check_sidecar(target, CharTokenizer("ba"))
    assert (sidecar.order, sidecar.lines_used) == (2, 3)


def test_other_tokenizer(path):
    with pytest.raises(UserError, match="lm.arpa: .* another tokenizer"):
        check_sidecar(path, CharTokenizer("abc"))


@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_truncated(path, keep):
    content = path.read_bytes()
    size = int(keep * len(content)) if keep == 0.5 else keep
    path.write_bytes(content[:size])
    with pytest.raises(UserError, match="lm.arpa: .* damaged or was changed"):
        check_sidecar(path, TOKENIZER)


def test_one_digit_changed(path):
    path.write_bytes(path.read_bytes().replace(b"-0.", b"-1.", 1))
    with pytest.raises(UserError, match="damaged or was changed"):
        check_sidecar(path, TOKENIZER)


def test_missing_sidecar(path):
    sidecar_path(path).unlink()
    with pytest.raises(UserError, match=r"lm.arpa.json: .* is missing"):
        check_sidecar(path, TOKENIZER)


def test_missing_model(path):
    path.unlink()
    with pytest.raises(UserError, match="lm.arpa: there is no language model"):
        check_sidecar(path, TOKENIZER)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: {},
        lambda record: [],
        lambda record: {**record, "format": "nar-asr-ngram-2"},
        lambda record: {**record, "extra": 1},
        lambda record: {k: v for k, v in record.items() if k != "sha256"},
    ],
)
def test_damaged_sidecar(path, change):
    where = sidecar_path(path)
    where.write_text(json.dumps(change(json.loads(where.read_text()))))
    with pytest.raises(UserError, match=r"lm.arpa.json: .* damaged"):
        check_sidecar(path, TOKENIZER)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00"])
def test_sidecar_that_is_no_json(path, content):
    sidecar_path(path).write_bytes(content)
    with pytest.raises(UserError, match=r"lm.arpa.json: .* damaged"):
        check_sidecar(path, TOKENIZER)
