"""A file is what was written, or is refused in one sentence."""

import hashlib
import json
import os
import random
import shutil
import struct

import numpy as np
import pytest

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer, train_tokenizer
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lm.ngram.scorer import NgramLM
from nar_asr_lobes.lm.ngram.storage import NgramInfo, read_ngram, write_ngram
from nar_asr_lobes.lm.ngram.training import train_ngram
from nar_asr_lobes.lm.words.ngram import train_word_ngram

TOKENIZER = CharTokenizer("abc ")
TEXT = ["abba", "baa ab", "cab a", "ab ab a", "caba b a"]
PIECES = train_tokenizer(TEXT, "bpe", 7)
HEAD = 56  # magic, SHA-256, length of the header


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A trained trigram; to read only."""
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    return train_ngram(TEXT, TOKENIZER, 3, path, use_lmplz=False)


@pytest.fixture
def path(report, tmp_path):
    """A copy of its tables."""
    return shutil.copy(report.path, tmp_path / "lm.ngram")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A bigram of words that end where pieces begin others; to read only."""
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    return train_word_ngram(TEXT, PIECES, 2, path, use_lmplz=False)


def rehashed(content):
    """The content with the SHA-256 that it has now."""
    digest = hashlib.sha256(content[48:]).digest()
    return content[:16] + digest + content[48:]


def split(content):
    """Return the header as a dictionary, and the payload."""
    (length,) = struct.unpack("<Q", content[48:HEAD])
    header = json.loads(content[HEAD : HEAD + length])
    return header, content[HEAD + length :]


def joined(header, payload):
    if not isinstance(header, bytes):
        header = json.dumps(header).encode()
    header += b" " * (-(HEAD + len(header)) % 64)
    head = struct.pack("<16s32xQ", b"nar-asr-ngram-2\n", len(header))
    return rehashed(head + header + payload)


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


def test_a_second_chain_is_stored_in_a_format_of_its_own(words, tmp_path):
    tables, info = read_ngram(words.path, PIECES)
    states = len(tables.final)
    assert len(tables.backoff) == 2 * states
    assert set(tables.chain.tolist()) == {0, states}
    content = words.path.read_bytes()
    assert content[:16] == b"nar-asr-ngram-3\n"
    write_ngram(tmp_path / "again", tables, info)
    assert (tmp_path / "again").read_bytes() == content


@pytest.mark.parametrize(
    "lengths", [{"chain": 0}, {"chain": 6}, {"backoff": 9}, {"final": 9}]
)
def test_second_chains_of_other_lengths(words, tmp_path, lengths):
    tables, info = read_ngram(words.path, PIECES)
    wrong = {name: getattr(tables, name)[:n] for name, n in lengths.items()}
    write_ngram(tmp_path / "lm.ngram", tables._replace(**wrong), info)
    with pytest.raises(UserError, match="lm.ngram: .* damaged .*its header"):
        read_ngram(tmp_path / "lm.ngram", PIECES)


def test_the_file_is_mapped_not_copied(path):
    """A change of the file is a change of the arrays, which cannot be set."""
    tables, _ = read_ngram(path, TOKENIZER)
    content = path.read_bytes()
    assert content[:15] == b"nar-asr-ngram-2"
    base = min(values.ctypes.data for values in tables if len(values))
    for values in tables:
        assert not values.flags.writeable
        assert type(values) is np.ndarray
        assert not len(values) or (values.ctypes.data - base) % 64 == 0
    header, payload = split(content)
    offset = len(content) - len(payload) + header["arrays"]["final"]["offset"]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(struct.pack("<f", -0.125))
    assert tables.final[0] == -0.125


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
    with pytest.raises(UserError, match="it is not for 6 pieces"):
        read_ngram(path, other)


def test_missing(tmp_path):
    for path in (tmp_path / "no", tmp_path):
        with pytest.raises(UserError, match="there is no language model; ch"):
            read_ngram(path, TOKENIZER)


def test_unreadable(path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "memmap", refuse)
    with pytest.raises(UserError, match=r"lm.ngram: .*\(Permission denied\)"):
        read_ngram(path, TOKENIZER)


def test_the_arpa_file_is_not_the_tables(report):
    with pytest.raises(UserError, match=r"lm.arpa: is no .* name the file \*"):
        read_ngram(report.arpa, TOKENIZER)


def test_format_of_another_version(path):
    path.write_bytes(path.read_bytes().replace(b"ngram-2", b"ngram-4", 1))
    with pytest.raises(UserError, match="lm.ngram: .* another format than"):
        read_ngram(path, TOKENIZER)


def test_truncated(path):
    content = path.read_bytes()
    for size in {*range(0, 70), *range(0, len(content), 61), len(content) - 1}:
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="lm.ngram: .* is damaged or was"):
            read_ngram(path, TOKENIZER)
        path.write_bytes(rehashed(content[:size].ljust(48, b"\0")))
        with pytest.raises(UserError, match="lm.ngram: "):
            read_ngram(path, TOKENIZER)


def test_one_bit_changed(path):
    """Even where the number is as good as the one before."""
    content = bytearray(path.read_bytes())
    header, payload = split(content)
    offset = len(content) - len(payload) + header["arrays"]["final"]["offset"]
    content[offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="its SHA-256 is not the one it names"):
        read_ngram(path, TOKENIZER)
    path.write_bytes(rehashed(bytes(content)))
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


def change(name, key, value):
    def apply(header):
        header["arrays"][name][key] = value
        return header

    return apply


@pytest.mark.parametrize(
    "edit",
    [
        lambda header: {},
        lambda header: [],
        lambda header: b"{",
        lambda header: b"\xff\xfe\x00",
        lambda header: b"[" * 60000,
        lambda header: b" " * (2**16 + 8),
        lambda header: header | {"extra": 1},
        lambda header: header | {"order": "3"},
        lambda header: header | {"order": -3},
        lambda header: header | {"lines_used": True},
        lambda header: header | {"tokenizer": "\ud800"},
        lambda header: header | {"arrays": 3},
        change("final", "length", -1),
        change("final", "length", 2**62),
        change("final", "length", 1.0),
        change("start", "length", True),
        change("start", "length", 2),
        change("final", "offset", 2**62),
        change("final", "dtype", "<f8"),
        change("final", "dtype", "O"),
    ],
)
def test_headers_that_say_what_cannot_be(path, edit):
    header, payload = split(path.read_bytes())
    path.write_bytes(joined(header, payload))
    read_ngram(path, TOKENIZER)
    path.write_bytes(joined(edit(header), payload))
    with pytest.raises(UserError, match="lm.ngram: .* damaged .*its header"):
        read_ngram(path, TOKENIZER)


def mutated(content, rng):
    """Flip bytes, cut, insert, overwrite or repeat; maybe mend the hash."""
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
    return rehashed(bytes(data)) if rng.random() < 0.8 else bytes(data)


@pytest.fixture(params=[2, 3])
def either(request, path, words):
    """A copy of a file of either format, and its tokenizer."""
    if request.param == 2:
        return path, TOKENIZER
    return shutil.copy(words.path, path), PIECES


def test_mutated_files_are_refused_or_score(either):
    """None crashes or hangs; 1,500 files, most with a mended SHA-256."""
    path, tokenizer = either
    rng, content = random.Random(7), path.read_bytes()
    (length,) = struct.unpack("<Q", content[48:HEAD])
    end, loaded, messages = HEAD + length, 0, set()
    for _ in range(1500):
        path.unlink()  # the mapped file of the last round stays whole
        head, payload = content[:end], content[end:]
        if rng.random() < 0.6:  # also behind a header that is right
            size = len(payload)
            payload = mutated(bytes(48) + payload, rng)[48:]
            payload = payload[:size].ljust(size, b"\0")
            path.write_bytes(rehashed(head + payload))
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
    assert 100 < loaded < 1400 and len(messages) > 10
    for message in messages:
        assert message.startswith(f"{path}: ") and "\n" not in message
        assert message.count("; ") == 1
