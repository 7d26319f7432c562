"""A file is what was written, or is refused in one sentence."""

import json
import os
import random
import struct
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.saved_posteriors import (
    SUFFIX,
    SavedPosteriors,
    read_posteriors,
    write_posteriors,
)
from nar_asr_lobes.errors import UserError

TOKENIZER = CharTokenizer(" ab")
FRAMES = (7, 0, 3)


@pytest.fixture
def saved():
    """Three utterances, one of them without a frame."""
    generator = torch.Generator().manual_seed(2)
    rows = torch.randn(10, TOKENIZER.size, generator=generator)
    rows = list((3 * rows).log_softmax(-1).split(FRAMES))
    rows[0][2, 1] = -torch.inf  # a piece may be impossible
    ids, references = ["é/1", "u 2", "\udcff"], ["a b", "", "ba ab"]
    return SavedPosteriors(
        ids, references, rows, TOKENIZER.fingerprint, 0.04, 0.4
    )


@pytest.fixture
def path(saved, tmp_path):
    """The file of them."""
    path = tmp_path / f"dev{SUFFIX}"
    write_posteriors(path, saved)
    return path


def same(one, two):
    """Whether two are equal, their numbers bit for bit."""
    return (
        replace(one, log_probs=two.log_probs) == two
        and len(one.log_probs) == len(two.log_probs)
        and all(map(torch.equal, one.log_probs, two.log_probs))
    )


def split(content):
    """Return the header as a dictionary, and the numbers' bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, payload):
    """Put a file together."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def change_facts(path, **changes):
    """Change facts of a file."""
    header, payload = split(path.read_bytes())
    facts = json.loads(header["__metadata__"]["record"]) | changes
    header["__metadata__"]["record"] = json.dumps(facts)
    path.write_bytes(joined(header, payload))


def test_round_trip_is_exact(saved, path, tmp_path):
    found = read_posteriors(path, TOKENIZER)
    assert same(found, saved)
    assert [len(values) for values in found.log_probs] == list(FRAMES)
    write_posteriors(tmp_path / "again", found)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["again", path.name]


def test_others_can_read_it(saved, path):
    tensors = safetensors.numpy.load_file(path)
    assert list(tensors) == ["log_probs"]
    wanted = torch.cat(saved.log_probs).numpy()
    np.testing.assert_array_equal(tensors["log_probs"], wanted)


def test_it_is_mapped_not_copied(path):
    """A change of the file is a change of the numbers."""
    found = read_posteriors(path, TOKENIZER)
    assert found.log_probs[0].data_ptr() % 64 == 0
    with open(path, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(struct.pack("<f", -0.125))
    assert found.log_probs[2][-1, -1] == -0.125


def test_rows_of_a_padded_batch_are_written(path, saved):
    """As ``posteriors`` cuts them; also columns that are not side by side."""
    batch = torch.full((3, 9, TOKENIZER.size), torch.nan)
    apart = batch.mT.contiguous().mT
    for padded in (batch, apart):
        for row, values in zip(padded, saved.log_probs, strict=True):
            row[: len(values)] = values
        rows = [row[:n] for row, n in zip(padded, FRAMES, strict=True)]
        write_posteriors(path, replace(saved, log_probs=rows))
        assert same(read_posteriors(path, TOKENIZER), saved)


@pytest.mark.parametrize("letters", [" abc", "abc"])
def test_another_tokenizer(path, letters):
    with pytest.raises(UserError, match="safetensors: .* another tokenizer"):
        read_posteriors(path, CharTokenizer(letters))


def test_no_file_and_foreign_files(path, tmp_path):
    for name in ("none", "."):
        with pytest.raises(
            UserError, match="there is no file of posteriors; ch"
        ):
            read_posteriors(tmp_path / name, TOKENIZER)
    safetensors.numpy.save_file({"w": np.ones(2)}, path)
    with pytest.raises(UserError, match="names no such.*; name a file"):
        read_posteriors(path, TOKENIZER)
    path.write_text('{"id": "u1", "text": "a"}\n')
    with pytest.raises(UserError, match="no whole file of post.*cut off"):
        read_posteriors(path, TOKENIZER)


def test_truncated(path):
    content = path.read_bytes()
    for size in {*range(70), *range(0, len(content), 7), len(content) - 1}:
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match="safetensors: is no .*cut off"):
            read_posteriors(path, TOKENIZER)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": ["a", "b", "a"]}, "utterance 'a' is there twice; give each"),
        ({"references": ["a", "b"]}, "3 ids, 2 references and posteriors of 3"),
        ({"log_probs": []}, "posteriors of 0 utterances; there must be one of"),
        ({"audio_seconds": -1.0}, "audio_seconds is -1.0; it must be a finite"),
        ({"frame_seconds": float("nan")}, "frame_seconds is nan; it must be a"),
    ],
)
def test_what_does_not_fit_is_not_saved(saved, changes, message):
    with pytest.raises(UserError, match=message):
        replace(saved, **changes)


def test_nothing_is_not_saved():
    with pytest.raises(UserError, match="0 ids, 0 ref.* and at least one"):
        SavedPosteriors([], [], [], "f", 0.04, 0.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[-0.1, torch.nan, -9, -9]], "hold NaN; the weights or the audio are"),
        ([[-torch.inf] * 4], "frame 0 gives every label probability 0; pass"),
        ([[3.0, 1, 1, 1]], "a log-probability is 3, above 0; pass log-softmax"),
        ([[-1.0, -1, -1]], "of 3 pieces in torch.float32; all must be of 4 in"),
        ([-1.0, -1, -1], "posteriors of shape .3.; they must be"),
        (torch.full((2, 4), -1.0).double(), "of 4 pieces in torch.float64; a"),
    ],
)
def test_numbers_that_cannot_be_are_named(saved, values, message):
    rows = [*saved.log_probs[:2], torch.as_tensor(values)]
    saved.ids[2] = "u3"
    with pytest.raises(UserError, match=f"utterance 'u3': .*{message}"):
        replace(saved, log_probs=rows)


def test_nan_in_a_file_is_named(path):
    header, payload = split(path.read_bytes())
    bad = struct.pack("<f", float("nan"))
    path.write_bytes(joined(header, payload[:16] + bad + payload[20:]))
    with pytest.raises(UserError, match="safetensors: utterance 'é/1': .* NaN"):
        read_posteriors(path, TOKENIZER)


@pytest.mark.parametrize(
    "changes",
    [
        {"frames": [7, 0, 4]},
        {"frames": [7, -1, 4]},
        {"frames": [7.0, 0, 3]},
        {"frames": [True, 6, 3]},
        {"frames": 10},
        {"ids": "abc"},
        {"ids": [1, 2, 3]},
        {"references": None},
        {"tokenizer": 1},
        {"tokenizer": "a\nb"},
        {"model": "?"},
    ],
)
def test_facts_that_cannot_be(path, changes):
    change_facts(path, **changes)
    with pytest.raises(UserError, match="whole .*its header holds impossible"):
        read_posteriors(path, TOKENIZER)


def test_facts_that_are_no_facts(path):
    header, payload = split(path.read_bytes())
    for facts in ("", "[]", "[" * 10**5, '"a"', "{}", "NaN", "3", "[[]]"):
        header["__metadata__"]["record"] = facts
        path.write_bytes(joined(header, payload))
        with pytest.raises(UserError, match="its (header|record)"):
            read_posteriors(path, TOKENIZER)


def test_facts_that_contradict_are_told_with_the_file(path):
    change_facts(path, ids=["a", "b", "b"])
    with pytest.raises(UserError, match="safetensors: utterance 'b' is there"):
        read_posteriors(path, TOKENIZER)
    change_facts(path, ids=["a", "b", "c"], audio_seconds="long")
    with pytest.raises(UserError, match="safetensors: audio_seconds is 'long'"):
        read_posteriors(path, TOKENIZER)


@pytest.mark.parametrize(
    "tensor",
    [
        {"shape": [5, 8]},
        {"dtype": "I32"},
        {"dtype": "F4", "shape": [40, 8]},
        {"shape": [40]},
    ],
)
def test_another_tensor(path, tensor):
    header, payload = split(path.read_bytes())
    header["log_probs"] |= tensor
    path.write_bytes(joined(header, payload))
    with pytest.raises(UserError, match="whole file of post|in torch.float32"):
        read_posteriors(path, TOKENIZER)


def test_another_tensors_name(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"log_probs"', b'"log-probs"'))
    with pytest.raises(UserError, match="is no whole file of posteriors"):
        read_posteriors(path, TOKENIZER)


def mutated(content, rng):
    """Change, cut, repeat, insert or overwrite some bytes."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 2)):
        at, other = rng.randrange(len(data)), rng.randrange(len(data))
        length, kind = rng.randint(1, 3), rng.randrange(5)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = rng.randbytes(length)
        elif kind == 3:
            data[at : at + length] = data[other : other + length]
        else:
            odd = rng.choice([b" ", b"\0", b"9", b"[", b"\\", b"\x80", b"-"])
            data[at : at + length] = odd * length
    return bytes(data)


def test_mutated_files_are_refused_or_alike(saved, path):
    """None crashes; 600 files, a half of them with mutated facts."""
    rng, content, messages = random.Random(7), path.read_bytes(), set()
    header, payload = split(content)
    facts = header["__metadata__"]["record"].encode()
    loaded = 0
    for round_ in range(600):
        path.unlink()  # what is mapped from the last round stays whole
        if round_ % 2:
            text = mutated(facts, rng).decode(errors="replace")
            header["__metadata__"]["record"] = text
            path.write_bytes(joined(header, payload))
        else:
            path.write_bytes(mutated(content, rng))
        try:
            found = read_posteriors(path, TOKENIZER)
        except UserError as error:
            messages.add(str(error))
            continue
        loaded += 1
        assert len(found.log_probs) == len(found.ids) == len(found.references)
        assert all(v.amax() <= 1e-3 for v in found.log_probs if len(v))
    assert 5 < loaded < 400 and len(messages) > 7
    for message in messages:
        assert message.startswith(f"{path}: ") and "\n" not in message
        assert message.count("; ") == 1, message
