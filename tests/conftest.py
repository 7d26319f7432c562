"""Shared by all tests: one thread, speech made of tones, and real data."""

import os
from pathlib import Path

import pytest
import soundfile
import torch

from nar_asr_lobes.dataio.audio.reading import SAMPLE_RATE
from nar_asr_lobes.dataio.manifest import Utterance
from tests.tones import TONE_TEXTS, tone_speech

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def tone_clips(tmp_path_factory) -> list[Utterance]:
    """Eight WAV files of tone speech with their texts, about 10 s in all."""
    folder = tmp_path_factory.mktemp("tone_clips")
    clips = []
    for number, text in enumerate(TONE_TEXTS):
        path = folder / f"tones-{number}.wav"
        samples = tone_speech(text)
        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
        clips.append(
            Utterance(
                id=path.stem,
                audio=str(path),
                duration=len(samples) / SAMPLE_RATE,
                text=text,
                speaker=f"s{number % 2}",
            )
        )
    return clips


@pytest.fixture
def ragged():
    """Make wavs [B, S], relative lengths [B]; the padding is loud noise."""

    def make(samples, seed=0):
        generator = torch.Generator().manual_seed(seed)
        size = max(samples)
        wavs = torch.randn(len(samples), size, generator=generator)
        for row, count in enumerate(samples):
            wavs[row, :count] *= 0.1
            wavs[row, count:] *= 7.0
        return wavs, torch.tensor(samples) / size

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real speech; skips, saying so, where it is absent.

    It is named by the environment variable NAR_ASR_DATA, else it is
    ../shared/data beside the repository.
    """
    beside = ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("NAR_ASR_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real speech at {folder}; set NAR_ASR_DATA to its path")
    return folder
