"""The assumptions of a look-up are checked, array by array."""

import json
import os
import random
import shutil
import struct

import numpy as np
import pytest
import safetensors.numpy

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.kneser_ney import estimate
from nar_asr_lobes.lm.ngram.lookup import NgramLM
from nar_asr_lobes.lm.ngram.states import build_tables
from nar_asr_lobes.lm.ngram.tables import (
    DTYPES,
    STORED,
    NgramInfo,
    find_fault,
    read_ngram,
    read_only,
    write_ngram,
)
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lm.words.ngram import train_word_ngram
from nar_asr_lobes.tensors import write_tensors
from tests.random_ngram import random_tables


@pytest.fixture
def tables():
    """A trigram's."""
    text = np.array([1, 2, 3, 1, 1, 2, 2, 3, 1])
    return build_tables(estimate(text, np.array([4, 5]), 3), 5)


@pytest.fixture
def two_chains():
    """Random ones, the second chain in any order."""
    tables = random_tables(9, 4, seed=1, chains=2)
    assert (tables.backoff_state[9:] > np.arange(9)).any()
    unigrams = np.array([-np.inf, -1.0, -1.0, -1.0])
    return tables._replace(unigram_log_prob=unigrams)


def test_sound_tables(tables):
    assert find_fault(tables) is None
    assert tuple(values.dtype for values in tables) == DTYPES


def test_a_shared_array_becomes_read_only(tables):
    with pytest.raises(ValueError, match="read-only"):
        tables.backoff[0] = 1
    assert read_only(tables.start, DTYPES.start) is tables.start


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("unigram_log_prob", 0, 0.0),
        ("unigram_log_prob", 2, np.nan),
        ("unigram_log_prob", -1, 0.1),
        ("unigram_state", 1, -1),
        ("unigram_state", 1, 1000),
        ("backoff", 1, np.inf),
        ("backoff", 1, np.nan),
        ("backoff", -1, 2e4),
        ("backoff_state", 0, 1),
        ("backoff_state", 3, 3),  # a ring
        ("backoff_state", 3, -1),
        ("final", 0, np.nan),
        ("final", -1, -np.inf),
        ("arc_begin", 0, 1),
        ("arc_begin", 1, 1),  # arcs of state 0
        ("arc_begin", -1, 2),
        ("arc_begin", 3, 0),
        ("arc_begin", 3, 2**40),
        ("arc_token", 0, 0),
        ("arc_token", 0, 5),
        ("arc_token", 1, 4),  # before 3
        ("arc_log_prob", 0, 0.1),
        ("arc_log_prob", -1, np.nan),
        ("arc_state", 0, -1),
        ("arc_state", -1, 1000),
        ("start", 0, -1),
        ("start", 0, 1000),
    ],
)
def test_unsound_tables(tables, name, index, value):
    values = getattr(tables, name).copy()
    values[index] = value
    assert find_fault(tables._replace(**{name: values})).startswith(name)


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        ("backoff_state", {9: 1}),  # of state 0
        ("backoff_state", {12: 3}),  # a ring of one, of two, of three
        ("backoff_state", {10: 2, 11: 1}),
        ("backoff_state", {10: 2, 11: 3, 12: 1}),
        ("backoff_state", {17: 9}),
        ("backoff_state", {17: -1}),
        ("backoff", {17: np.nan}),
        ("chain", {1: 1}),
        ("chain", {1: -9}),
        ("chain", {1: 18}),
    ],
)
def test_unsound_second_chains(two_chains, name, edits):
    assert find_fault(two_chains) is None
    values = getattr(two_chains, name).copy()
    values[list(edits)] = list(edits.values())
    assert find_fault(two_chains._replace(**{name: values})).startswith(name)


TOKENIZER = CharTokenizer("abc ")
TEXT = ["abba", "baa ab", "cab a", "ab ab a", "caba b a"]
PIECES = train_tokenizer(TEXT, "bpe", 7)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A trained trigram; to read only."""
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    return train_ngram(TEXT, TOKENIZER, 3, path)


@pytest.fixture
def path(report, tmp_path):
    """A copy of its tables."""
    return shutil.copy(report.path, tmp_path / "lm.ngram")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A bigram of words that end where pieces begin others; to read only."""
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    return train_word_ngram(TEXT, PIECES, 2, path)


def split(content):
    """Return the header as a dictionary, and the payload."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, payload):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text + payload


def place_of(content, name):
    """Return where in a file an array begins."""
    header, payload = split(content)
    return len(content) - len(payload) + header[name]["data_offsets"][0]


def test_round_trip_is_exact(path, tmp_path):
    tables, info = read_ngram(path, TOKENIZER)
    write_ngram(tmp_path / "again", tables, info)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    again, same = read_ngram(tmp_path / "again", TOKENIZER)
    assert same == info == NgramInfo(TOKENIZER.fingerprint, 3, 5, 0, "numpy")
    for found, wanted in zip(again, tables, strict=True):
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted.tobytes()
    assert sorted(os.listdir(tmp_path)) == ["again", "lm.ngram"]


def test_a_second_chain_is_stored(words, tmp_path):
    tables, info = read_ngram(words.path, PIECES)
    states = len(tables.final)
    assert len(tables.backoff) == 2 * states
    assert set(tables.chain.tolist()) == {0, states}
    write_ngram(tmp_path / "again", tables, info)
    assert (tmp_path / "again").read_bytes() == words.path.read_bytes()


@pytest.mark.parametrize(
    "lengths", [{"chain": 0}, {"chain": 6}, {"backoff": 9}, {"final": 9}]
)
def test_second_chains_of_other_lengths(words, tmp_path, lengths):
    tables, info = read_ngram(words.path, PIECES)
    wrong = {name: getattr(tables, name)[:n] for name, n in lengths.items()}
    write_ngram(tmp_path / "lm.ngram", tables._replace(**wrong), info)
    with pytest.raises(UserError, match="lm.ngram: is no whole .* of [0-9]+.;"):
        read_ngram(tmp_path / "lm.ngram", PIECES)


def test_the_file_is_mapped_not_copied(path):
    """A change of the file is a change of the arrays, which cannot be set."""
    tables, _ = read_ngram(path, TOKENIZER)
    for values in tables:
        assert not values.flags.writeable and values.flags.aligned
        assert type(values) is np.ndarray
    with open(path, "r+b") as file:
        file.seek(place_of(path.read_bytes(), "final"))
        file.write(struct.pack("<f", -0.125))
    assert tables.final[0] == -0.125


def test_others_can_read_it(path):
    tensors = safetensors.numpy.load_file(path)
    tables, _ = read_ngram(path, TOKENIZER)
    assert {*tensors} == {*STORED}
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, getattr(tables, name))


def test_it_can_be_copied_anywhere(path, tmp_path):
    target = tmp_path / "other name"
    os.rename(path, target)
    assert NgramLM.load(target, CharTokenizer(" cba")).sentence([1]) < 0


@pytest.mark.parametrize("letters", ["abc", "abcd "])
def test_other_tokenizer(path, letters):
    with pytest.raises(UserError, match="lm.ngram: .* another tokenizer"):
        read_ngram(path, CharTokenizer(letters))


def test_a_fingerprint_on_tables_of_another_size(path):
    other = CharTokenizer("abcd ")
    tables, info = read_ngram(path, TOKENIZER)
    info = NgramInfo(other.fingerprint, 3, 5, 0, info.estimator)
    write_ngram(path, tables, info)
    with pytest.raises(UserError, match="unigram_log_prob is not float32 of 6"):
        read_ngram(path, other)


def test_missing(tmp_path):
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(UserError, match="there is no file of n-gram table"):
            read_ngram(path, TOKENIZER)


def test_other_files_are_not_the_tables(report, path):
    with pytest.raises(UserError, match=r"lm.arpa: is no .* name the file \*"):
        read_ngram(report.arpa, TOKENIZER)
    write_tensors(path, "something", {}, {})
    with pytest.raises(UserError, match="its header names no such"):
        read_ngram(path, TOKENIZER)


def test_truncated(path):
    content = path.read_bytes()
    for size in {*range(0, 70), *range(0, len(content), 61), len(content) - 1}:
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="lm.ngram: is no whole .*cut off"):
            read_ngram(path, TOKENIZER)


def test_a_folder_that_cannot_be_made(path):
    tables, info = read_ngram(path, TOKENIZER)
    with pytest.raises(UserError, match="lm: cannot be written .* free space"):
        write_ngram(path / "lm", tables, info)


def test_a_failed_write_leaves_the_older_model(path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    content = path.read_bytes()
    tables, info = read_ngram(path, TOKENIZER)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"\(No space left on device; "):
        write_ngram(path, tables, info)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["lm.ngram"]


def change_array(name, key, value):
    def apply(header):
        header[name][key] = value

    return apply


def change_record(key, value):
    def apply(header):
        record = json.loads(header["__metadata__"]["record"])
        text = json.dumps(record | {key: value})
        header["__metadata__"]["record"] = text

    return apply


def set_record(text):
    def apply(header):
        header["__metadata__"]["record"] = text

    return apply


@pytest.mark.parametrize(
    "edit",
    [
        dict.clear,
        lambda header: header.pop("final"),
        lambda header: header.pop("__metadata__"),
        set_record(""),
        set_record("[]"),
        set_record("3"),
        set_record("[" * 10**5),
        change_record("extra", 1),
        change_record("order", "3"),
        change_record("lines_used", True),
        change_record("tokenizer", "a\nb"),
        change_record("tokenizer", 3),
        change_array("start", "shape", [2]),
        change_array("start", "shape", []),
        change_array("start", "dtype", "F32"),
        change_array("final", "shape", [2**62]),
        change_array("final", "shape", [1, 8]),
        change_array("final", "dtype", "F64"),
        change_array("final", "dtype", "O"),
        change_array("final", "data_offsets", [0, 2**62]),
    ],
)
def test_headers_that_say_what_cannot_be(path, edit):
    header, payload = split(path.read_bytes())
    path.write_bytes(joined(header, payload))
    read_ngram(path, TOKENIZER)
    edit(header)
    path.write_bytes(joined(header, payload))
    with pytest.raises(UserError, match="lm.ngram: is no whole file .* name"):
        read_ngram(path, TOKENIZER)


def mutated(content, rng):
    """Flip bytes, cut, insert, overwrite or repeat."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        start, other = rng.randrange(len(data)), rng.randrange(len(data))
        length = rng.choice([1, 2, 4, 8, 64])
        kind = rng.randrange(5)
        if kind == 0:
            data[start] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[start : start + length]
        elif kind == 2:
            data[start:start] = rng.randbytes(length)
        elif kind == 3:
            data[start : start + length] = data[other : other + length]
        else:
            odd = rng.choice([b"\xff", b"\0", b"\x7f", b"9", b"[", b"\x80"])
            data[start : start + length] = odd * length
    return bytes(data)


@pytest.fixture(params=["pieces", "words"])
def either(request, path, words):
    """A copy of a file without or with a second chain, and its tokenizer."""
    if request.param == "pieces":
        return path, TOKENIZER
    return shutil.copy(words.path, path), PIECES


def test_mutated_files_are_refused_or_score(either):
    """None crashes or hangs; 1,500 files."""
    path, tokenizer = either
    rng, content = random.Random(7), path.read_bytes()
    end = len(content) - len(split(content)[1])
    loaded, messages = 0, set()
    for _ in range(1500):
        path.unlink()  # the mapped file of the last round stays whole
        if rng.random() < 0.8:  # behind a header that is right
            size = len(content) - end
            payload = mutated(content[end:], rng)[:size].ljust(size, b"\0")
            path.write_bytes(content[:end] + payload)
        else:
            path.write_bytes(mutated(content, rng))
        try:
            lm = NgramLM.load(path, tokenizer)
        except UserError as error:
            messages.add(str(error))
            continue
        loaded += 1
        for state in range(len(lm.tables.final)):
            assert np.isfinite(lm.final(state))
            for token in range(1, tokenizer.size):
                log_prob, after = lm.score(state, token)
                assert np.isfinite(log_prob)
                assert 0 <= after < len(lm.tables.final)
        assert np.isfinite(lm.sentence([1, 2, 3, 4] * 5))
    assert 100 < loaded < 1400 and len(messages) > 8
    for message in messages:
        assert message.startswith(f"{path}: ") and "\n" not in message
        assert message.count("; ") == 1
