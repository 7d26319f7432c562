"""A bundle opens where SpeechBrain expects a pretrained model."""

import json

import pytest
import soundfile
import torch
from speechbrain.inference.interfaces import Pretrained

import nar_asr_lobes
from nar_asr_lobes.cli.main import main
from nar_asr_lobes.errors import UserError
from nar_asr_lobes.inference.speechbrain import BundleASR

TEXTS = ("bad cab dab", "d", "ab cd")
CPU = {"device": "cpu"}


@pytest.fixture
def asr(folder):
    return BundleASR.from_hparams(source=folder, savedir="x", run_opts=CPU)


@pytest.fixture
def files(tmp_path, speak):
    paths = [str(tmp_path / f"{number}.flac") for number in range(len(TEXTS))]
    for path, text in zip(paths, TEXTS, strict=True):
        soundfile.write(path, speak(text, 0.001), 16000)
    return paths


@pytest.fixture
def batch(files):
    """The files' samples [3, S] with their relative lengths."""
    wavs = [torch.from_numpy(soundfile.read(p)[0]).float() for p in files]
    lengths = torch.tensor([len(wav) for wav in wavs])
    wavs = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    return wavs, lengths / wavs.shape[1]


def test_it_is_a_pretrained_model_without_gradients(asr, model):
    assert isinstance(asr, Pretrained) and asr.device == "cpu"
    assert not any(p.requires_grad for p in asr.parameters())
    assert not asr.mods.training
    weights = asr.mods.model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(weights[name], value)


def test_files_and_batches_give_the_texts_of_the_command(
    asr, folder, files, batch, capsys
):
    lines = ["transcribe", *files, "--bundle", str(folder)]
    assert main([*lines, "--format", "json"]) == 0
    printed = capsys.readouterr().out.splitlines()
    expected = [json.loads(line)["text"] for line in printed]
    assert expected == list(TEXTS)
    assert [asr.transcribe_file(path) for path in files] == expected
    for method in (asr.transcribe_batch, asr):
        texts, tokens = method(*batch)
        assert texts == expected
        assert [asr.tokenizer.decode(row) for row in tokens] == expected


def test_the_mode_can_be_chosen(folder, batch):
    greedy = BundleASR.from_hparams(folder, mode="ctc_greedy", run_opts=CPU)
    assert greedy.transcriber.mode == "ctc_greedy"
    expected = nar_asr_lobes.load(folder, "cpu", mode="ctc_greedy").transcribe(
        [row[: round(float(n) * len(row))] for row, n in zip(*batch, strict=1)],
        sample_rate=16000,
    )
    assert greedy(*batch)[0] == [found.text for found in expected]


def test_load_audio_gives_what_a_batch_needs(asr, tmp_path, speak):
    path = tmp_path / "a.wav"
    halved = speak("bad cab", 0.001).reshape(-1, 2).mean(1)
    soundfile.write(path, halved, 8000)
    wav = asr.load_audio(path)
    assert wav.shape == (2 * len(halved),)
    assert asr(wav[None], torch.ones(1))[0] == ["bad cab"]
    assert asr.transcribe_file(path, savedir="x") == "bad cab"


def test_states_ignore_padding_and_have_gradients_when_asked(folder, batch):
    asr = BundleASR.from_hparams(folder, run_opts=CPU, freeze_params=False)
    states = asr.encode_batch(*batch)
    whole = asr.encode_batch(batch[0][:1].double(), torch.ones(1))
    assert torch.allclose(states[:1], whole, atol=1e-5)
    states.square().mean().backward()
    assert asr.mods.model.encoder.layers.layers[0].ffn1_norm.bias.grad.any()


def test_utterances_of_no_length_are_empty(asr, batch):
    texts, tokens = asr(batch[0], torch.tensor([1.0, 0.0, 0.0]))
    assert texts == [TEXTS[0], "", ""] and tokens[1:] == [[], []]


def test_mistakes_are_one_sentence(folder, tmp_path):
    with pytest.raises(UserError, match="is not a bundle"):
        BundleASR.from_hparams(tmp_path, run_opts=CPU)
    with pytest.raises(UserError, match="this bundle has none, so use beam5"):
        BundleASR.from_hparams(folder, mode="beam5_lm", run_opts=CPU)


def test_nothing_of_the_bundle_is_executed(folder, tmp_path):
    """Neither a recipe's YAML nor a class that lies beside the weights."""
    trap = tmp_path / "trap"
    (folder / "hyperparams.yaml").write_text(
        f"pretrainer: !apply:os.mkdir [{trap}]\nmodules: {{}}\n"
    )
    (folder / "custom.py").write_text(f"import os; os.mkdir('{trap}')")
    BundleASR.from_hparams(folder, run_opts=CPU)
    assert not trap.exists()
