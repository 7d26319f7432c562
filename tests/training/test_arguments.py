"""The command line: what is whose, and what is refused."""

from dataclasses import fields

import pytest
from speechbrain.utils.run_opts import RunOptions
from torch.distributed.run import get_args_parser

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.training.config import RunConfig
from nar_asr_lobes.training.hparams import parse_arguments
from nar_asr_lobes.training.lm.config import LmRunConfig


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 YAML files are given .*; call python train.py"),
        (["--steps=3"], "0 YAML files"),
        (["a.yaml", "b.yaml"], r"2 YAML files are given \(a.yaml, b.yaml\)"),
        (["a.yaml", "--steps"], "--steps: has no value; write --steps=VALUE"),
        (["a.yaml", "--steps", "--seed=1"], "--steps: has no value"),
        (["a.yaml", "--data={a: "], "--data={a: : is not YAML"),
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


@pytest.mark.parametrize("options", [RunConfig, LmRunConfig, RunOptions])
def test_torchrun_takes_no_option_for_one_of_its_own(options):
    """It reads the whole line, and takes abbreviations of its options."""
    parser = get_args_parser()
    for field in fields(options):
        line = ["train.py", "a.yaml", f"--{field.name}=1"]
        found = parser.parse_args(line)
        assert [found.training_script, *found.training_script_args] == line
