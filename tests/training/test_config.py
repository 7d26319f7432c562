"""Reading a recipe's YAML with what the command line overrides."""

import pytest
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.objectives.pretraining import Wav2Vec2Objective
from nar_asr_lobes.training.hparams import load_run, resolve_yaml

MODEL = "stem: gabor\nd_model: 32\nheads: 2\n"
YAML = """\
task: pretrain
data_folder: !PLACEHOLDER
output_folder: out
steps: 7
peak_lr: 5e-4
data:
   train: pool
   max_seconds: 20
model: !include:model.yaml
optim:
   optimizer: !name:torch.optim.AdamW
      weight_decay: 0.01
objective: !new:nar_asr_lobes.objectives.pretraining.BestRqObjective
   mask_share: 0.5
   mask_span: 10
"""


@pytest.fixture
def recipe(tmp_path):
    """Return a function that writes a YAML, changed in one place."""
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "wide.yaml").write_text(MODEL.replace("32", "64"))

    def write(old="", new=""):
        assert old in YAML
        (tmp_path / "a.yaml").write_text(YAML.replace(old, new, 1))
        return tmp_path / "a.yaml"

    return write


def test_values_sections_and_parts_are_made(recipe):
    config = load_run(recipe(), "data_folder: corpus")
    assert (config.data_folder, config.steps) == ("corpus", 7)
    assert config.peak_lr == 5e-4  # YAML 1.1 would take 5e-4 for text
    assert (config.data.train, config.data.max_seconds) == ("pool", 20)
    assert config.data.min_seconds == 0  # not in the file
    assert config.model == {"stem": "gabor", "d_model": 32, "heads": 2}
    assert config.objective.mask_span == 10
    weight = torch.nn.Parameter(torch.zeros(1))
    [group] = config.optim.optimizer([weight]).param_groups
    assert group["weight_decay"] == 0.01


def test_overrides_change_one_key_or_a_whole_section(recipe):
    config = load_run(
        recipe(),
        "data_folder: corpus\nsteps: 9\ndata: {max_seconds: 5}\n"
        "model: !include:wide.yaml\ninit_from: other\n"
        "objective: {mask_span: 4}",
    )
    assert (config.steps, config.init_from) == (9, "other")
    assert (config.data.train, config.data.max_seconds) == ("pool", 5)
    assert config.model["d_model"] == 64
    assert config.objective.mask_span == 4


def test_keys_of_an_included_file_are_overridden(recipe, tmp_path):
    path = recipe("objective: ", "objective: !include:best.yaml\nold: ")
    text = path.read_text()
    head, _, objective = text.partition("old: ")
    path.write_text(head)
    (tmp_path / "best.yaml").write_text(objective)
    config = load_run(
        path,
        "data_folder: x\nmodel: {heads: 4}\nobjective: {mask_span: 4}",
    )
    assert config.model == {"stem": "gabor", "d_model": 32, "heads": 4}
    assert config.objective.mask_span == 4
    assert config.objective.mask_share == 0.5
    config = load_run(
        path, "data_folder: x\nmodel: !include:wide.yaml {heads: 4}"
    )
    assert config.model == {"stem": "gabor", "d_model": 64, "heads": 4}
    assert config.objective.mask_span == 10


def test_keys_with_a_tag_take_the_place_of_what_is_there(recipe):
    tag = "!new:nar_asr_lobes.objectives.pretraining.Wav2Vec2Objective"
    given = (
        f"data_folder: x\nobjective: {tag} {{mask_share: 0.4, mask_span: 3}}"
    )
    config = load_run(recipe(), given)
    assert type(config.objective) is Wav2Vec2Objective
    assert config.objective.mask_span == 3
    inside = "model: !include:model.yaml\n   heads: 4\n"
    path = recipe("model: !include:model.yaml\n", inside)
    other = "data_folder: x\nmodel: !include:wide.yaml {heads: 8}"
    assert load_run(path, other).model["d_model"] == 64


def test_the_resolved_yaml_gives_the_same_run(recipe, tmp_path):
    given = "data_folder: x\nmodel: {heads: 4}\nsteps: 9"
    config = load_run(recipe(), given)
    copy = tmp_path / "elsewhere.yaml"
    copy.write_text(resolve_yaml(recipe(), given))
    for name in ("wide.yaml", "model.yaml"):
        (tmp_path / name).unlink()
    again = load_run(copy)
    assert (again.model, again.steps) == (config.model, config.steps)
    assert again.model["heads"] == 4


def test_includes_are_found_from_any_folder(recipe, tmp_path, monkeypatch):
    path = recipe()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_run(path, "data_folder: x").model["d_model"] == 32
    config = load_run("../a.yaml", "data_folder: x")
    assert config.model["d_model"] == 32


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("", "a.yaml: key 'data_folder' is left to you; add --data_folder="),
        ("stepps: 3", "a.yaml: unknown key 'stepps'; did you mean 'steps'"),
        ("data: {workes: 3}", "a.yaml: data: unknown key 'workes'; did you"),
        ("steps: 0", "a.yaml: steps is 0; it must be a whole"),
        ("steps: many", "a.yaml: steps is 'many'; it must be a whole"),
        ("data: {cache: no}", "a.yaml: data: cache is 'no'; give True or"),
        ("data: {workers: -1}", "a.yaml: data: workers is -1; it must be a"),
        ("data: 3", "a.yaml: data: must hold keys, not 3"),
        ("data: null", "a.yaml: data is empty; fill or remove it"),
        ("steps: {a: 1}", "a.yaml: steps is one value there, so it has no"),
        ("model: {head: 4}", "a.yaml: model: unknown key 'head'; did you mean"),
        (
            "model: !include:no.yaml",
            "a.yaml: includes .*no.yaml, which is n",
        ),
        ("task: finetun", "a.yaml: task is 'finetun'; choose from pretrain"),
        ("precision: fp16", "a.yaml: precision is 'fp16'; choose from"),
        ("freeze: True", "a.yaml: freeze is 'True'; choose from none, filters"),
        ("freeze: [none]", r"a.yaml: freeze is \['none'\]; choose from"),
        ("lm: {order: 0}", "a.yaml: lm: order is 0; it must be a whole number"),
        ("optim: {warmup: 0.1}", "optim: unknown key 'warmup'; did you mean"),
        (
            "objective: {mask_spn: 4}",
            "a value cannot be made .*BestRqObjective.* 'mask_spn'",
        ),
        ("wave_augment: !new:no.such.thing", "cannot be made .*no.such.thing"),
    ],
)
def test_a_wrong_override_is_told_in_one_line(recipe, overrides, message):
    if overrides:
        overrides = f"data_folder: x\n{overrides}"
    with pytest.raises(UserError, match=message) as caught:
        load_run(recipe(), overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("task: pretrain\n", "", "a.yaml: key 'task' is missing; add it"),
        ("steps: 7", "steps: [7", r"a.yaml:\d+: is not YAML \(.*\); correct"),
        ("steps: 7", "task: x", r"a.yaml:4: is not YAML \(found duplicate key"),
        ("steps: 7", "  steps: 7", "a.yaml:4: is not YAML"),
        ("steps: 7", "steps: \x01", "a.yaml: is not YAML; name a recipe's"),
        (YAML, "", "a.yaml: holds no keys; name a recipe's YAML"),
        (YAML, "- task\n", "a.yaml: holds no keys"),
        ("out\n", "!ref <no>\n", 'cannot be made .*"no" is not valid'),
        ("model.yaml", "model.yaml\n   d_modle: 3", "model: unknown key 'd_mo"),
        ("model.yaml", "model.yaml\n   heads: 5", "model: d_model 32 does not"),
        ("model.yaml", "model.yaml\n   d_model: a", "model: d_model is 'a'"),
    ],
)
def test_a_wrong_file_is_told_with_its_line(recipe, old, new, message):
    with pytest.raises(UserError, match=message) as caught:
        load_run(recipe(old, new), "data_folder: x")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_binary_one(recipe, tmp_path):
    with pytest.raises(UserError, match="no.yaml: no such file; name one of"):
        load_run(tmp_path / "no.yaml")
    with pytest.raises(UserError, match="no such file"):
        load_run(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"a: \xff\xfe\xff")
    with pytest.raises(UserError, match="b.yaml: is not YAML; name a recipe's"):
        load_run(tmp_path / "b.yaml")
