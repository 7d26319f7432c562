import json
from dataclasses import replace

import pytest
import torch

from nar_asr_lobes.dataio.batching import Sample
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ENCODER_KEYS, ModelConfig
from nar_asr_lobes.objectives.best_rq import BestRqObjective
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from nar_asr_lobes.training.hparams import load_run
from nar_asr_lobes.training.init_from import (
    check_start,
    describe_start,
    load_pretrained,
    reinit_parts,
    with_imported_sizes,
)
from tests.training.runs import make_brain as tiny_brain
from tests.training.runs import make_dataset, make_objective, weights

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
        parts, metadata = {"model": {"a": torch.ones(1)}}, {"model": sizes}
        folder.save(1, parts, metadata)
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


def test_it_is_asked_before_the_model_is_judged(checkpoint, tmp_path):
    """Layer 8 is one of theirs; without them there are 6 layers."""
    values = {"task": "finetune", "data_folder": "a", "output_folder": "b"}
    values |= {"model": MINE, "init_from": checkpoint(THEIRS.to_dict())}
    (tmp_path / "a.yaml").write_text(json.dumps(values))
    config = load_run(tmp_path / "a.yaml")
    assert config.model.encoder_layers == 9
    assert MINE == {
        "d_model": 64,
        "decoder_layers": 3,
        "inter_ctc_layers": [8],
    }


@pytest.fixture
def pretrained(tmp_path):
    """A pre-training's output folder, and its weights."""
    metadata = {"model": ModelConfig.tiny().to_dict()}
    folder = tmp_path / "checkpoints"
    brain = tiny_brain("pretrain", folder, 1, metadata=metadata)
    brain.on_fit_start()
    brain.save()
    return tmp_path, weights(brain)


def recogniser(**sizes):
    config = replace(ModelConfig.tiny(), **sizes)
    return make_objective("finetune").build_model(config)


def test_only_the_encoder_is_taken_over(pretrained):
    folder, theirs = pretrained
    model = recogniser()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    load_pretrained(model, str(folder), {"tokenizer": "a"})
    for name, value in model.state_dict().items():
        wanted = theirs if name.startswith("encoder.") else before
        assert torch.equal(value, wanted[name]), name


def test_reinit_layers_are_the_last_ones_and_stay_as_they_are(pretrained):
    folder, theirs = pretrained
    model = recogniser()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    load_pretrained(model, str(folder), {}, reinit_parts(1, 2))
    for name, value in model.state_dict().items():
        ours = not name.startswith("encoder.") or ".layers.1." in name
        wanted = before if ours else theirs
        assert torch.equal(value, wanted[name]), name
    assert not torch.equal(
        before["encoder.layers.layers.1.ffn1.0.weight"],
        theirs["encoder.layers.layers.1.ffn1.0.weight"],
    )


def test_reinit_layers_under_heads_that_are_not_are_refused(tmp_path):
    save_finetuned(tmp_path)
    load_pretrained(recogniser(), str(tmp_path), {}, reinit_parts(1, 2))
    with pytest.raises(UserError, match="ctc_head. decoder. would lose the la"):
        load_pretrained(
            recogniser(), str(tmp_path), {"tokenizer": "a"}, reinit_parts(1, 2)
        )


def save_finetuned(folder):
    """Save a recogniser whose tokenizer is "a"; give its brain."""
    metadata = {"model": ModelConfig.tiny().to_dict(), "tokenizer": "a"}
    brain = tiny_brain("finetune", folder / "checkpoints", 1, metadata=metadata)
    brain.on_fit_start()
    brain.save()
    return brain


@pytest.mark.parametrize(
    ("metadata", "parts"),
    [
        ({"tokenizer": "a"}, ("encoder.", "ctc_head.", "decoder.")),
        ({"tokenizer": "b"}, ("encoder.",)),
        ({"tokenizer": "a", "phones": "p t"}, ("encoder.", "ctc_", "decoder.")),
    ],
)
def test_what_means_the_same_comes_along(metadata, parts, tmp_path):
    brain = save_finetuned(tmp_path)
    torch.manual_seed(99)
    model = recogniser()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    load_pretrained(model, str(tmp_path), metadata)
    for name, value in model.state_dict().items():
        wanted = weights(brain) if name.startswith(parts) else before
        assert torch.equal(value, wanted[name]), name


@pytest.mark.parametrize(("targets", "all_of_it"), [("a", True), ("b", False)])
def test_a_pretraining_goes_on_with_the_same_targets(
    targets, all_of_it, tmp_path
):
    metadata = {"model": ModelConfig.tiny().to_dict(), "targets": "a"}
    objective = BestRqObjective(0.5, 4, 2, 32, projection="whitened")
    brain = tiny_brain(
        "pretrain",
        tmp_path / "checkpoints",
        1,
        metadata=metadata,
        objective=objective,
    )
    brain.on_fit_start()
    brain.model.quantizer.fit(torch.eye(321).double())
    brain.save()
    torch.manual_seed(99)
    model = objective.build_model(ModelConfig.tiny())
    assert not model.quantizer.fitted
    load_pretrained(model, str(tmp_path), {"targets": targets})
    assert model.quantizer.fitted == all_of_it
    theirs, mine = weights(brain), model.state_dict()
    for name in ("projection", "centre"):
        same = torch.equal(
            mine[f"quantizer.{name}"], theirs[f"quantizer.{name}"]
        )
        assert same == (all_of_it or name == "centre"), name
    same = torch.equal(mine["classifier.weight"], theirs["classifier.weight"])
    assert same == all_of_it


def test_a_fitted_projection_is_not_fitted_again(tmp_path, tone_clips):
    objective = BestRqObjective(0.5, 4, 2, 32, projection="whitened")
    model = objective.build_model(ModelConfig.tiny())
    dataset = make_dataset("pretrain", tone_clips)
    one, other = (
        objective.make_inputs(dataset.batch([Sample(i, i)]), model)
        for i in (0, 1)
    )
    objective.init_from_batch(model, [one])
    before = model.quantizer.projection.clone()
    objective.init_from_batch(model, [other])
    assert torch.equal(model.quantizer.projection, before)


@pytest.mark.parametrize(
    ("sizes", "layer"),
    [({"decoder_layers": 2}, 1), ({"decoder_heads": 4}, 0)],
)
def test_a_decoder_of_other_sizes_stays(tmp_path, sizes, layer):
    """Other heads have tensors of the same shapes, and mean something else."""
    brain = save_finetuned(tmp_path)
    torch.manual_seed(99)
    model, name = recogniser(**sizes), f"layers.{layer}.ffn.0.weight"
    before = model.decoder.state_dict()[name].clone()
    load_pretrained(model, str(tmp_path), {"tokenizer": "a"})
    assert torch.equal(model.decoder.state_dict()[name], before)
    assert torch.equal(model.ctc_head.bias, brain.model.ctc_head.bias)


@pytest.mark.parametrize(
    "sizes", [{"ffn_dim": 48}, {"encoder_layers": 3}, {"stem": "wav2vec2"}]
)
def test_an_encoder_of_other_sizes_is_refused(pretrained, sizes):
    with pytest.raises(UserError, match="its encoder has other sizes than"):
        load_pretrained(recogniser(**sizes), str(pretrained[0]), {})


def test_another_number_of_heads_is_refused(pretrained):
    """The tensors are of the same shapes and mean something else."""
    with pytest.raises(UserError, match="has heads 2, this model 4; use the"):
        load_pretrained(recogniser(heads=4), str(pretrained[0]), {})


def test_audio_that_is_read_otherwise_is_refused(pretrained):
    with pytest.raises(UserError, match="normalize_audio True, this model Fal"):
        load_pretrained(
            recogniser(normalize_audio=False), str(pretrained[0]), {}
        )


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no whole checkpoint; run pre"):
        load_pretrained(recogniser(), str(tmp_path), {})


def test_what_a_run_can_start_from(pretrained, tmp_path):
    """One that is under way needs the folder no more."""
    folder = str(pretrained[0])
    check_start(None, "out")
    check_start(folder, "out")
    check_start("moved", folder)
    with pytest.raises(UserError, match="both init_from and output_folder"):
        check_start(folder, f"{folder}/checkpoints/..")
    with pytest.raises(UserError, match="moved: holds no whole .*; run pre-"):
        check_start("moved", "out")
    published = tmp_path / "published"
    published.mkdir()
    (published / "config.json").write_text("{}")
    (tmp_path / "a.pt").touch()
    for source in (published, tmp_path / "a.pt"):
        with pytest.raises(UserError, match="import it first: nar-asr import-"):
            check_start(str(source), "out")


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"task": "pretrain"}, "was pre-trained on unlabelled speech."),
        ({"task": "import", "source": "wavlm x"}, "imported from wavlm x."),
        ({"task": "finetune"}, "It started from here."),
    ],
)
def test_a_card_tells_what_a_run_started_from(tmp_path, metadata, told):
    parts = {"model": {"a": torch.ones(1)}}
    CheckpointFolder(tmp_path / "here" / "checkpoints").save(1, parts, metadata)
    assert describe_start(str(tmp_path / "here")).endswith(told)


def test_a_run_under_way_keeps_its_imported_sizes(checkpoint):
    folder = checkpoint(THEIRS.to_dict())
    found = with_imported_sizes(MINE, "moved", folder)
    assert found == with_imported_sizes(MINE, folder) != MINE
