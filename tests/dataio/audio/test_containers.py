"""Sizes that headers state, and pages of Ogg files."""

import io

import numpy as np
import pytest
import soundfile

from nar_asr_lobes.dataio.audio.containers import (
    Part,
    find_samples,
    mp3_frames,
    ogg_parts,
)
from nar_asr_lobes.errors import AudioError

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 48000)


def encoded(**options):
    """Return three seconds of noise as a file in memory."""
    file = io.BytesIO()
    soundfile.write(file, NOISE, 16000, **options)
    return file


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU", "NIST"])
def test_where_the_samples_are(kind):
    file = encoded(format=kind, subtype="PCM_16")
    start, size = find_samples(file)
    padding = 8 if kind == "AIFF" else 0  # two fields of its chunk
    assert size - padding == 2 * len(NOISE)
    assert start + size == len(file.getvalue())


def test_other_files_have_none():
    assert find_samples(encoded(format="FLAC")) is None
    assert find_samples(io.BytesIO(b"RIFF\0\0\0\0WAVEfmt ")) is None


def test_part_of_a_file_with_other_bytes_in_places():
    part = Part(io.BytesIO(b"0123456789"), 2, 8, {0: b"ab", 4: b"c"})
    assert part.read() == b"ab45c7"
    assert part.seek(-3, 2) == 3 and part.tell() == 3
    assert (part.read(2), part.read()) == (b"5c", b"7")


def test_parts_of_an_ogg_file():
    one = encoded(format="OGG", subtype="OPUS").getvalue()
    for tail in (b"", b"TAG" + bytes(125)):
        content = one + one + tail
        found = ogg_parts("a.opus", io.BytesIO(content))
        assert found == [(0, len(one), 1), (len(one), 2 * len(one), 1)]


def test_a_page_that_is_broken_or_missing():
    content = encoded(format="OGG", subtype="VORBIS").getvalue()
    pages = content.split(b"OggS")[1:]
    assert len(pages) >= 5
    broken = bytearray(content)
    broken[-len(pages[-1]) - len(pages[-2]) // 2] ^= 1
    missing = b"".join(b"OggS" + page for page in [*pages[:-2], pages[-1]])
    for wrong in (broken, missing, content.replace(b"OggS", b"Oggs", 3)):
        with pytest.raises(AudioError, match="has damaged parts"):
            ogg_parts("a.ogg", io.BytesIO(wrong))
    with pytest.raises(AudioError, match="is cut short"):
        ogg_parts("a.ogg", io.BytesIO(content[:-9]))


def test_frames_of_an_mp3_file():
    file = encoded(format="MP3")
    assert mp3_frames(file) * 576 == pytest.approx(len(NOISE), abs=2 * 1152)
    tag = b"ID3\x04\0\0\0\0\x01\x48" + bytes(200)
    assert mp3_frames(io.BytesIO(tag + file.getvalue())) == mp3_frames(file)
    for name in (b"Info", b"Xing"):
        file = io.BytesIO(file.getvalue().replace(name, b"none"))
    assert mp3_frames(file) is None
