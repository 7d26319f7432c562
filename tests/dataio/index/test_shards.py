"""Shards are plain tar files of FLAC; nothing else is taken from one."""

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.index.shards import END, pack, unpack
from nar_asr_lobes.errors import AudioError


def noise(samples, seed=0):
    rng = np.random.default_rng(seed)
    steps = rng.integers(-(2**15), 2**15, samples)
    return (steps / 2**15).astype(np.float32)


def test_the_audio_comes_back_bit_by_bit():
    wav = noise(5000)
    found = np.empty(5000, np.float32)
    data = pack(3, {"id": "é/1", "text": "a b"}, wav)
    record = unpack(data, "x", found)
    assert record == {"id": "é/1", "text": "a b"}
    np.testing.assert_array_equal(found, wav)


def test_louder_than_full_scale_is_clipped():
    found = np.empty(150, np.float32)
    unpack(pack(0, {}, np.array([2.0, -3.0, 0.5] * 50)), "x", found)
    assert found[:3].tolist() == [1 - 2.0**-15, -1.0, 0.5]


def test_a_reader_of_webdataset_shards_finds_samples(tmp_path):
    """Members of one key follow each other: KEY.json and KEY.flac."""
    path = tmp_path / "a.tar"
    wavs = [noise(900 + i, i) for i in range(3)]
    data = [pack(i, {"id": f"u{i}"}, wav) for i, wav in enumerate(wavs)]
    path.write_bytes(b"".join(data) + END)
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        names = [member.name for member in members]
        assert all(member.isreg() for member in members)
        contents = [tar.extractfile(member).read() for member in members]
    assert names == [
        f"{i:09d}.{ending}" for i in range(3) for ending in ("json", "flac")
    ]
    for i, wav in enumerate(wavs):
        assert json.loads(contents[2 * i]) == {"id": f"u{i}"}
        found, rate = soundfile.read(
            io.BytesIO(contents[2 * i + 1]), dtype="float32"
        )
        assert rate == 16000
        np.testing.assert_array_equal(found, wav)


def member(name, data=b"", kind=tarfile.REGTYPE, target=""):
    header = tarfile.TarInfo(name)
    header.type, header.size, header.linkname = kind, len(data), target
    return header.tobuf() + data + bytes(-len(data) % 512)


def flac(rate=16000, shape=(800,), form="FLAC"):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(shape), rate, format=form)
    return file.getvalue()


TEXT = member("1.json", b"{}")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(1024),
        b"\xff" * 2048,
        TEXT,
        member("1.json", b"[1]") + member("1.flac", flac()),
        member("1.json", b"{") + member("1.flac", flac()),
        member("1.json", b"[" * 9000) + member("1.flac", flac()),
        member("1.pkl", b"{}") + member("1.flac", flac()),
        TEXT + member("1.flac", flac(), tarfile.SYMTYPE, "/etc/passwd"),
        TEXT + member("1.flac", flac(), tarfile.LNKTYPE, "../x.flac"),
        TEXT + member("1.flac", flac(), tarfile.DIRTYPE),
        TEXT + member("1.flac", flac())[:560],
        TEXT + member("1.flac", b"no audio"),
        TEXT + member("1.flac", flac(8000)),
        TEXT + member("1.flac", flac(shape=(800, 2))),
        TEXT + member("1.flac", flac(form="WAV")),
        TEXT + member("1.flac", flac()[:60]),
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(AudioError, match="^a.tar: byte 5: .*copy the shard"):
        unpack(data, "a.tar: byte 5", np.empty(800, np.float32))


@pytest.mark.parametrize("samples", [1599, 1601])
def test_audio_of_another_length_than_the_index_says_is_damaged(samples):
    data = pack(0, {"id": "a"}, np.zeros(1600, np.float32))
    with pytest.raises(AudioError, match="a.tar: is damaged"):
        unpack(data, "a.tar", np.empty(samples, np.float32))


def test_a_header_that_lies_costs_no_memory():
    """The number of samples in a FLAC header: 36 bits from byte 21 on."""
    data = bytearray(flac())
    data[21:26] = bytes([data[21] | 0x0F, 255, 255, 255, 255])
    with pytest.raises(AudioError, match="is damaged"):
        lies = TEXT + member("1.flac", bytes(data))
        unpack(lies, "a.tar", np.empty(800, np.float32))
