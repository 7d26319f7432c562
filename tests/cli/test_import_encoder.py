import pytest

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.training.checkpoint import CheckpointFolder
from tests.published_models import make_published, save_published


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "some-wavlm"
    return save_published(make_published("wavlm-ctc"), folder, False)


def convert(source, output, *options):
    return main(
        ["import-encoder", str(source), "--output", str(output), *options]
    )


def test_it_says_what_it_took_and_what_to_do(source, tmp_path, capsys):
    folder = tmp_path / "out"
    assert convert(source, folder) == 0
    metadata = CheckpointFolder(folder / "checkpoints").newest().metadata
    assert metadata["task"] == "import"
    assert metadata["source"] == "wavlm some-wavlm"
    assert not metadata["model"]["normalize_audio"]
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{folder}: wavlm, 3 layers of 32, 0.0 M param")
    assert others == [
        "audio: not normalised (preprocessor_config.json)",
        "left out: lm_head, masked_spec_embed",
        f"train from it with --init_from={folder}",
    ]


@pytest.mark.parametrize("choice", ["yes", "no"])
def test_the_audio_can_be_told(source, tmp_path, capsys, choice):
    assert convert(source, tmp_path / "out", "--normalize", choice) == 0
    state = {"yes": "normalised", "no": "not normalised"}[choice]
    assert f"audio: {state} (--normalize)" in capsys.readouterr().out


def test_mistakes_are_told(source, tmp_path, capsys):
    assert convert(tmp_path, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "holds no config.json; name a folder" in error
    assert convert(source, source) == 2
    assert "exists already; name another folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
