"""A bundle with a random model, and audio files for the command line."""

import pytest
import soundfile
import torch

from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.modes import DecodingOptions
from nar_asr_lobes.inference.bundle import write_bundle
from nar_asr_lobes.inference.bundle_files import BundleCard
from nar_asr_lobes.lobes.model import ModelConfig, build_model
from tests.tones import TONE_TEXTS, tone_speech


@pytest.fixture(scope="session")
def bundle_folder(tmp_path_factory):
    torch.manual_seed(1)
    tokenizer = CharTokenizer(" abcdefg")
    model = build_model(ModelConfig.tiny(), tokenizer.size)
    with torch.no_grad():
        model.ctc_head.weight.mul_(10.0)  # less blank
    return write_bundle(
        tmp_path_factory.mktemp("cli") / "bundle",
        model,
        tokenizer,
        DecodingOptions(),
        card=BundleCard("Random"),
    )


@pytest.fixture
def files(tmp_path):
    """Three audio files, each with another text."""
    paths = [tmp_path / name for name in ("a.wav", "b.flac", "c.ogg")]
    for path, text in zip(paths, TONE_TEXTS, strict=False):
        soundfile.write(path, tone_speech(text), 16000)
    return [str(path) for path in paths]
