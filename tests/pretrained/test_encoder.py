"""Imported encoders compute what those of transformers do."""

import os

import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.lobes.model import build_model
from nar_asr_lobes.objectives.best_rq import BestRq
from nar_asr_lobes.pretrained.encoder import import_encoder
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.init_from import load_pretrained
from tests.published_models import (
    PUBLISHED,
    assert_same_states,
    imported,
    make_published,
    make_wavs,
    save_published,
    states_of,
)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_layer_is_that_of_transformers(name, normalize, tmp_path):
    model = make_published(name)
    source = save_published(model, tmp_path / "source", normalize)
    encoder, _ = imported(source, tmp_path / "out")
    assert_same_states(encoder, model, normalize)


def test_the_audio_can_be_told_apart(tmp_path):
    """The test above would not see a setting without effect."""
    model = make_published("wav2vec2-large")
    source = save_published(model, tmp_path / "a", True)
    encoder, report = imported(source, tmp_path / "b")
    other, other_report = imported(source, tmp_path / "c", normalize=False)
    assert report.published.audio == "normalised (preprocessor_config.json)"
    assert other_report.published.audio == "not normalised (--normalize)"
    wavs = make_wavs()
    mine, _ = states_of(encoder, wavs, torch.ones(4))
    theirs, _ = states_of(other, wavs, torch.ones(4))
    assert (mine[-1] - theirs[-1]).abs().max() > 1e-2


def test_heads_are_left_out_and_named(tmp_path):
    source = save_published(make_published("wav2vec2-large"), tmp_path / "a")
    _, report = imported(source, tmp_path / "b")
    assert report.dropped == [
        "masked_spec_embed",
        "project_hid",
        "project_q",
        "quantizer",
    ]
    source = save_published(make_published("wavlm-ctc"), tmp_path / "c")
    _, report = imported(source, tmp_path / "d")
    assert report.dropped == ["lm_head", "masked_spec_embed"]
    source = save_published(make_published("wavlm-odd-xvector"), tmp_path / "e")
    _, report = imported(source, tmp_path / "f")
    heads = "classifier feature_extractor objective projector tdnn"
    assert sorted(report.dropped) == sorted(
        [*heads.split(), "masked_spec_embed"]
    )


def test_parts_of_a_file_are_put_together(tmp_path):
    model = make_published("wavlm-base")
    whole = save_published(model, tmp_path / "a")
    parts = save_published(model, tmp_path / "b", max_shard_size="20KB")
    assert len(list(parts.glob("*.safetensors"))) > 2
    one, _ = imported(whole, tmp_path / "c")
    two, _ = imported(parts, tmp_path / "d")
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_half_precision_becomes_single(tmp_path):
    model = make_published("hubert-base").half()
    encoder, _ = imported(save_published(model, tmp_path / "a"), tmp_path / "b")
    state = encoder.state_dict()
    assert {value.dtype for value in state.values()} == {torch.float32}
    wanted = model.feature_projection.projection.weight.float()
    assert torch.equal(state["frontend.projection.weight"], wanted)


@pytest.mark.parametrize("kind", ["recogniser", "best-rq"])
def test_a_run_takes_it_over(kind, tmp_path):
    source = save_published(make_published("wavlm-large"), tmp_path / "a")
    encoder, report = imported(source, tmp_path / "b")
    metadata = CheckpointFolder(tmp_path / "b" / "checkpoints").metadata()
    sizes = ModelConfig.from_dict(metadata["model"])
    assert sizes == report.published.model
    assert metadata["source"] == "wavlm a"
    if kind == "recogniser":
        model = build_model(sizes, 12)
    else:
        model = BestRq(sizes, codebooks=1, codes=8)
    load_pretrained(model, str(tmp_path / "b"), {"tokenizer": "a"})
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name]), name


def test_an_import_that_failed_can_be_tried_again(tmp_path, monkeypatch):
    source = save_published(make_published("wavlm-base"), tmp_path / "a")

    def fail(value, file):
        file.write(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:664]")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fail)
        with pytest.raises(UserError, match="cannot be written .* free space"):
            import_encoder(source, tmp_path / "b")
    assert import_encoder(source, tmp_path / "b").parameters


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    source = save_published(make_published("wavlm-base"), tmp_path / "a")
    (tmp_path / "b").mkdir()
    import_encoder(source, tmp_path / "b")  # empty
    for folder in (tmp_path / "b", source, source / "config.json"):
        with pytest.raises(UserError, match="exists already; name another"):
            import_encoder(source, folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    source = save_published(make_published("wavlm-base"), tmp_path / "a")
    (tmp_path / "b").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"):
        import_encoder(source, tmp_path / "b")
