"""``nar-asr plan``: a plan of a recipe's YAML, from options and overrides."""

import re

import pytest

from nar_asr_lobes.cli.main import main
from tests.recipes.running import yaml_of

FULL = str(yaml_of("Pretraining100k", "pretrain"))
LIBRISPEECH = str(yaml_of("LibriSpeech", "pretrain"))
TINY = "--model=!include:../../../hparams/model/tiny.yaml"


def planned(capsys, *arguments):
    """Run the command; give its output."""
    assert main(["plan", *arguments]) == 0
    return capsys.readouterr().out


def test_options_and_overrides_count(capsys):
    out = planned(
        capsys, LIBRISPEECH, "--gpus", "8", "--hours", "960", "--steps=1000"
    )
    assert "1,000 of 2,048 utterances" in out
    assert "passes over 960 h" in out
    assert "on each of 8 GPUs" in out


def test_measured_audio_seconds_set_the_step(capsys):
    options = ("--audio_seconds_per_second", "787.2", "--gpus", "1")
    out = planned(capsys, FULL, "--global_batch=64", *options)
    assert "micro-batches 1000.0" in out


def test_compressed_gradients_count(capsys):
    def step(*options):
        out = planned(capsys, FULL, *options)
        return float(re.search(r"network (\S+), waiting", out)[1])

    assert step("--optim={compress_gradients: True}") < step()


def test_this_machine_is_measured(capsys):
    out = planned(
        capsys,
        FULL,
        TINY,
        "--measure",
        *("--gpus", "1", "--mean_seconds", "2", "--global_batch=2"),
        "--objective={codes: 16}",
        "--device=cpu",
    )
    [seconds] = re.findall(r"micro-batches (\S+),", out)
    assert 0 < float(seconds) < 10_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([FULL, "--gpus", "12"], "gpus is 12; it must be a multiple of"),
        ([FULL, "--gpu", "abacus"], "gpu is 'abacus'; choose from H200"),
        ([FULL, "--utilisation", "1.5"], "utilisation is 1.5; it must be"),
        ([FULL, "--hours", "0"], "hours is 0.0; it must be"),
        (["missing.yaml"], "missing.yaml: no such file"),
        (
            [LIBRISPEECH.replace("pretrain", "finetune")],
            "plan counts pre-trainings with BEST-RQ only",
        ),
    ],
)
def test_a_mistake_is_one_sentence(capsys, arguments, sentence):
    assert main(["plan", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {sentence}") and err.count("\n") == 1
