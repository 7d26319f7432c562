"""The command line and the YAML of a run become its configuration."""

from dataclasses import fields
from pathlib import Path

import pytest
import ruamel.yaml
import torch
from speechbrain.utils.run_opts import RunOptions
from torch.distributed.run import get_args_parser

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.lobes.config import ModelConfig
from nar_asr_lobes.objectives.wav2vec2 import Wav2Vec2Objective
from nar_asr_lobes.training.config import (
    EvaluationConfig,
    LmRunConfig,
    RunConfig,
)
from nar_asr_lobes.training.hparams import (
    _read_yaml,
    load_run,
    parse_arguments,
    resolve_yaml,
)


def test_the_rest_are_overrides_as_yaml():
    path, run_opts, overrides = parse_arguments(
        [
            "--steps=3",
            "a.yaml",
            "--data={max_seconds: 5, test: [a, b]}",
            "--peak_lr",
            "1e-3",
            "--data_folder=/corpus/a=b",
            "--model=!include:../tiny.yaml",
            "--device=cpu",
            "--noprogressbar",
            "--steps=4",
        ]
    )
    assert path == "a.yaml"
    assert (run_opts.device, run_opts.noprogressbar) == ("cpu", True)
    assert overrides.splitlines() == [
        "steps: 4",
        "data: {max_seconds: 5, test: [a, b]}",
        "peak_lr: 1e-3",
        'data_folder: "/corpus/a=b"',
        "model: !include:../tiny.yaml",
    ]


def test_only_what_was_given_goes_before_the_yaml():
    _, run_opts, overrides = parse_arguments(["a.yaml", "--precision=bf16"])
    assert overrides == ""
    assert run_opts.precision == "bf16"
    assert "precision" in run_opts.overridden_args
    assert "eval_precision" not in run_opts.overridden_args


def test_without_a_gpu_processes_talk_through_gloo(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    _, run_opts, _ = parse_arguments(["a.yaml"])
    assert run_opts.device == "cpu"
    assert run_opts.distributed_backend == "gloo"


def test_with_a_gpu_speechbrain_chooses_the_device(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    _, run_opts, _ = parse_arguments(["a.yaml"])
    assert run_opts.device is None
    assert run_opts.distributed_backend == "nccl"
    _, run_opts, _ = parse_arguments(["a.yaml", "--device=cpu"])
    assert run_opts.distributed_backend == "gloo"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 YAML files are given .*; call python train.py"),
        (["--steps=3"], "0 YAML files"),
        (["a.yaml", "b.yaml"], r"2 YAML files are given \(a.yaml, b.yaml\)"),
        (["a.yaml", "--steps"], "--steps: has no value; write --steps=VALUE"),
        (["a.yaml", "--steps", "--seed=1"], "--steps: has no value"),
        (["a.yaml", "--data={a: "], "--data={a: : is not YAML"),
        (["a.yaml", "--a={b: !name:c}"], "is not YAML.* a space behind a !tag"),
        (["a.yaml", "--#a=2"], "--#a=2: is no key with a value of YAML"),
        (["a.yaml", "--compile=False"], "--compile=False: takes no value"),
        (
            ["a.yaml", "--precision=fp8"],
            "--precision=fp8: choose from fp32, bf16",
        ),
        (["a.yaml", "--device=gpu"], "--device=gpu: cannot be used on this"),
        (["a.yaml", "--device=cuda:99"], "--device=cuda:99: cannot be used"),
        (["a.yaml", "--distributed_backend=x"], "choose from nccl, gloo"),
        (["a.yaml", "--max_grad_norm=1"], "--max_grad_norm: .* no effect here"),
        (["a.yaml", "--debug"], "--debug: .* no effect here"),
        (["a.yaml", "--jit", "x"], "--jit: .* no effect here"),
    ],
)
def test_mistakes_are_told_by_their_option(arguments, message):
    with pytest.raises(UserError, match=message):
        parse_arguments(arguments)


RECIPES = Path(__file__).parents[2] / "recipes"


def test_torchrun_takes_no_option_for_one_of_its_own():
    """It reads the whole line, and takes abbreviations of its options."""
    parser, load = get_args_parser(), ruamel.yaml.YAML().load
    keys = {
        key for path in RECIPES.glob("*/hparams/*.yaml") for key in load(path)
    }
    for options in (RunConfig, EvaluationConfig, LmRunConfig, RunOptions):
        keys |= {field.name for field in fields(options)}
    assert len(keys) > 60
    for key in keys:
        line = ["train.py", "a.yaml", f"--{key}=1"]
        found = parser.parse_args(line)
        assert [found.training_script, *found.training_script_args] == line
    with pytest.raises(SystemExit):
        parser.parse_args(["train.py", "a.yaml", "--log=1"])
    found = parser.parse_args(["--", "train.py", "a.yaml", "--log=1"])
    assert found.training_script_args == ["a.yaml", "--log=1"]


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*/hparams/eval*.yaml")))
def test_an_evaluation_takes_another_language_model_and_weights(recipe):
    given = "data_folder: a\nlm: {ngram: b}\ndecoding: {beam: {beam_size: 9}}"
    values = _read_yaml(recipe, given)
    assert values["lm"] == {"ngram": "b"}
    assert values["decoding"] == {"beam": {"beam_size": 9}}


LM = """\
task: lm
tokenizer: tokens
texts: [a.txt]
output_folder: out
optim:
   optimizer: !name:torch.optim.AdamW
   scheduler: !name:nar_asr_lobes.training.optim.scheduler.WarmupCosine
      peak_lr: !ref <peak_lr>
peak_lr: 1e-3
"""
HEAD = "task: pretrain\ndata_folder: corpus\noutput_folder: out\n"
# YAML makes a date, numbers, a comment, a mapping, a truth, ... of these.
TEXTS = ("2024-11-29 007 1e3 0x1F 1_000 .5 true null [a] {b} *c !d").split() + [
    "runs/exp #7",
    "a: b",
    'it\'s "so"',
    "C:\\new",
    "- x",
    "% # &",
]


def load(path, *options):
    """The configuration of a file and a command line."""
    path, _, overrides = parse_arguments([str(path), *options])
    return load_run(path, overrides)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_the_command_line_are_taken_as_they_are(tmp_path, text):
    (tmp_path / "a.yaml").write_text(HEAD)
    (tmp_path / "lm.yaml").write_text(LM)
    config = load(tmp_path / "a.yaml", f"--output_folder={text}")
    assert config.output_folder == text
    config = load(tmp_path / "a.yaml", "--output_folder", text)
    assert config.output_folder == text
    if not text.startswith(("{", "!")):  # those may be a section
        config = load(tmp_path / "lm.yaml", f"--tokenizer={text}")
        assert config.tokenizer == text


def test_an_optional_text_can_be_left_empty(tmp_path):
    (tmp_path / "a.yaml").write_text(HEAD + "bundle: a\nhot_words: b\n")
    config = load(tmp_path / "a.yaml", "--bundle=null", "--hot_words=")
    assert config.bundle is config.hot_words is None
    with pytest.raises(UserError, match="'output_folder' is missing"):
        load(tmp_path / "a.yaml", "--output_folder=")


def test_texts_of_a_file_and_of_a_section_stay_as_written(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "task: evaluate\ndata_folder: 1e3\noutput_folder: 2024-11-29 # day\n"
        "bundle: 007\nmodes: [nar, 0.10]\n"
        "data:\n   train: 1_0\n   test: [2020-01-01, on, 0x10]\n"
        "lm: {ngram: 3.0}\n"
    )
    config = load(tmp_path / "a.yaml", "--data={dev: 08.50, max_seconds: 007}")
    assert (config.data_folder, config.bundle) == ("1e3", "007")
    assert config.output_folder == "2024-11-29"
    assert config.modes == ["nar", "0.10"]
    assert (config.data.train, config.data.dev) == ("1_0", "08.50")
    assert config.data.test == ["2020-01-01", "on", "0x10"]
    assert config.data.max_seconds == 7
    assert config.lm.ngram == "3.0"


def test_home_and_variables_are_put_into_paths_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("RUN", "r")
    (tmp_path / "a.yaml").write_text(
        HEAD + "init_from: ~/p\nlm: {neural: $RUN/n, texts: [~/t, a$]}\n"
        "data: {train: $RUN}\n"
    )
    config = load(tmp_path / "a.yaml", "--output_folder=~/x ${RUN}")
    assert (config.output_folder, config.lm.neural) == ("/h/x r", "r/n")
    assert config.lm.texts == ["/h/t", "a$"]
    assert config.data.train == "$RUN"
    (tmp_path / "lm.yaml").write_text(LM)
    options = "--texts=[~/a, $RUN/b]", "--tokenizer=~/t"
    config = load(tmp_path / "lm.yaml", *options)
    assert config.texts == ["/h/a", "r/b"]
    assert config.tokenizer == "/h/t"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("$NO_SUCH/x", "a.yaml: bundle: .*x: the variable .NO_SUCH is not set"),
        ("${NO_SUCH}", "the variable .{NO_SUCH} is not set; set it or write"),
        ("~nobody-here/x", "there is no such user; write ./~nobody-here/x for"),
    ],
)
def test_what_cannot_be_put_in_is_told(tmp_path, path, message):
    (tmp_path / "a.yaml").write_text(HEAD)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "a.yaml", f"--bundle={path}")


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
   scheduler: !name:nar_asr_lobes.training.optim.scheduler.WarmupCosine
      peak_lr: !ref <peak_lr>
objective: !new:nar_asr_lobes.objectives.best_rq.BestRqObjective
   mask_prob: 0.5
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
    assert config.model == ModelConfig(d_model=32, heads=2)
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
    assert config.model.d_model == 64
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
    assert config.model == ModelConfig(d_model=32, heads=4)
    assert config.objective.mask_span == 4
    assert config.objective.mask_prob == 0.5
    config = load_run(
        path, "data_folder: x\nmodel: !include:wide.yaml {heads: 4}"
    )
    assert config.model == ModelConfig(d_model=64, heads=4)
    assert config.objective.mask_span == 10


def test_keys_with_a_tag_take_the_place_of_what_is_there(recipe):
    tag = "!new:nar_asr_lobes.objectives.wav2vec2.Wav2Vec2Objective"
    given = f"data_folder: x\nobjective: {tag} {{mask_prob: 0.4, mask_span: 3}}"
    config = load_run(recipe(), given)
    assert type(config.objective) is Wav2Vec2Objective
    assert config.objective.mask_span == 3
    inside = "model: !include:model.yaml\n   heads: 4\n"
    path = recipe("model: !include:model.yaml\n", inside)
    other = "data_folder: x\nmodel: !include:wide.yaml {heads: 8}"
    assert load_run(path, other).model.d_model == 64


def test_the_resolved_yaml_gives_the_same_run(recipe, tmp_path):
    given = "data_folder: x\nmodel: {heads: 4}\nsteps: 9"
    config = load_run(recipe(), given)
    copy = tmp_path / "elsewhere.yaml"
    copy.write_text(resolve_yaml(recipe(), given))
    for name in ("wide.yaml", "model.yaml"):
        (tmp_path / name).unlink()
    again = load_run(copy)
    assert (again.model, again.steps) == (config.model, config.steps)
    assert again.model.heads == 4


@pytest.fixture
def based(tmp_path):
    """A YAML that includes all of another, in the folder above."""
    folder = tmp_path / "bäse files"  # as a user may name them
    (folder / "mine").mkdir(parents=True)
    (folder / "base.yaml").write_text(
        YAML.replace(
            "!include:model.yaml", "!include:parts/model.yaml"
        ).replace(
            YAML[YAML.index("   optimizer") : YAML.index("objective")],
            "   optimizer: !name:torch.optim.AdamW\n"
            "   scheduler: !include:parts/schedule.yaml\n",
        )
    )
    (folder / "parts").mkdir()
    (folder / "parts" / "model.yaml").write_text(MODEL)
    (folder / "parts" / "schedule.yaml").write_text(
        "!name:nar_asr_lobes.training.optim.scheduler.WarmupCosine\n"
        "peak_lr: !ref <peak_lr>\n"
    )
    (folder / "mine" / "a.yaml").write_text(
        "# A comment.\n!include:../base.yaml\n"
        "data_folder: corpus\nsteps: 9\n"
        "data: {train: 007, options: {language: x}}\n"
        "optim: {optimizer: {weight_decay: 0.5}}\n"
    )
    return folder / "mine" / "a.yaml"


def test_a_whole_file_is_included_and_its_keys_overridden(based):
    config = load_run(based, "model: {heads: 4}\npeak_lr: 3e-4")
    assert (config.task, config.data_folder) == ("pretrain", "corpus")
    assert config.steps == 9
    assert (config.data.train, config.data.max_seconds) == ("007", 20)
    assert config.data.options == {"language": "x"}
    assert config.model == ModelConfig(d_model=32, heads=4)
    assert config.optim.optimizer.keywords == {"weight_decay": 0.5}


def test_a_file_may_include_another_and_no_more(based):
    based.write_text("# As it is.\n!include:../base.yaml\n")
    assert load_run(based, "data_folder: corpus").steps == 7


def test_a_reference_in_a_fragment_is_to_a_key_of_the_run(based):
    def peak(given=""):
        return load_run(based, given).optim.scheduler(steps=9).peak_lr

    assert peak() == 5e-4
    assert peak("peak_lr: 3e-4") == 3e-4
    assert peak("optim: {scheduler: {peak_lr: 2e-4}}") == 2e-4
    tag = "!name:nar_asr_lobes.training.optim.scheduler.WarmupCosine"
    given = f"optim: {{scheduler: {tag} {{peak_lr: 1e-4}}}}"
    assert peak(given) == 1e-4


def test_a_fault_in_an_included_file_is_told_with_its_name(based):
    schedule = based.parent.parent / "parts" / "schedule.yaml"
    schedule.write_text("peak_lr: [1")
    with pytest.raises(UserError, match=r"^[^:]*schedule.yaml:\d: is not YAML"):
        load_run(based)
    schedule.unlink()
    with pytest.raises(UserError, match="base.yaml: includes .*schedule.yaml"):
        load_run(based)


def test_includes_are_found_from_any_folder(recipe, tmp_path, monkeypatch):
    path = recipe()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_run(path, "data_folder: x").model.d_model == 32
    config = load_run("../a.yaml", "data_folder: x")
    assert config.model.d_model == 32


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
        ("data: {train: {a: 1}}", "a.yaml: data.train is one value there, so"),
        ("model: {head: 4}", "a.yaml: model: unknown key 'head'; did you mean"),
        (
            "model: !include:no.yaml",
            "a.yaml: includes .*no.yaml, which is n",
        ),
        ("task: finetun", "a.yaml: task is 'finetun'; choose from pretrain"),
        ("precision: fp16", "a.yaml: precision is 'fp16'; choose from"),
        ("freeze: True", "a.yaml: freeze is True; choose from none, filters"),
        ("freeze: [none]", r"a.yaml: freeze is \['none'\]; choose from"),
        ("lm: {order: 0}", "a.yaml: lm: order is 0; it must be a whole number"),
        ("optim: {max_skip: 1}", "optim: unknown key 'max_skip'; did you mean"),
        (
            "objective: {mask_spn: 4}",
            "a value cannot be made .*BestRqObjective.* 'mask_spn'",
        ),
        ("objective: {mask_span: x}", "a.yaml: mask_span is 'x'; it must be"),
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
