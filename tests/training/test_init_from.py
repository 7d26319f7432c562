from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.lobes.config import ENCODER_KEYS, ModelConfig
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.config import parse_config
from nar_asr_lobes.training.init_from import with_imported_sizes

THEIRS = replace(
    ModelConfig.tiny(),
    encoder="wav2vec2",
    stem="wav2vec2",
    encoder_layers=9,
    position_buckets=8,
    norm_first=False,
    inter_ctc_layers=[3],
    decoder_layers=4,
)
MINE = {"d_model": 64, "decoder_layers": 3, "inter_ctc_layers": [8]}


@pytest.fixture
def checkpoint(tmp_path):
    """Return a function that writes one with these sizes."""

    def make(sizes):
        folder = CheckpointFolder(tmp_path / "checkpoints")
        parts, facts = {"model": {"a": torch.ones(1)}}, {"model": sizes}
        folder.save(1, parts, facts)
        return str(tmp_path)

    return make


def test_the_encoder_is_theirs_and_the_rest_mine(checkpoint):
    folder = checkpoint(THEIRS.to_dict())
    found = ModelConfig.from_dict(with_imported_sizes(MINE, folder))
    for key in ENCODER_KEYS:
        assert getattr(found, key) == getattr(THEIRS, key), key
    assert (found.decoder_layers, found.inter_ctc_layers) == (3, [8])


def test_an_encoder_of_our_own_stays_what_the_yaml_says(checkpoint, tmp_path):
    assert with_imported_sizes(MINE, str(tmp_path / "none")) == MINE
    folder = checkpoint(ModelConfig.tiny().to_dict())
    assert with_imported_sizes(MINE, folder) == MINE


def test_it_is_asked_before_the_model_is_judged(checkpoint):
    """Layer 8 is one of theirs; without them there are 6 layers."""
    values = {"task": "finetune", "data_folder": "a", "output_folder": "b"}
    values |= {"model": MINE, "init_from": checkpoint(THEIRS.to_dict())}
    config = parse_config(values, "a.yaml")
    assert config.model["encoder_layers"] == 9
    assert MINE == {
        "d_model": 64,
        "decoder_layers": 3,
        "inter_ctc_layers": [8],
    }
