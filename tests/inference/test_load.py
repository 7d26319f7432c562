"""`nar_asr_lobes.load`, the first lines that a user writes."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

import nar_asr_lobes
from nar_asr_lobes.cli.main import main
from nar_asr_lobes.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path, speak):
    paths = [str(tmp_path / f"{name}.wav") for name in "ab"]
    for path, text in zip(paths, ["bad cab", "dab"], strict=True):
        soundfile.write(path, speak(text, 0.001), 16000)
    return paths


def _rounded(transcript):
    """Without the last digits, which depend on the batch on some machines."""
    words = tuple(
        replace(word, confidence=round(word.confidence, 5))
        for word in transcript.words
    )
    return replace(transcript, words=words)


def test_path_list_and_array_equal_the_command(folder, files, capsys):
    recognizer = nar_asr_lobes.load(folder)
    assert main(["transcribe", *files, "--bundle", str(folder)]) == 0
    printed = capsys.readouterr().out
    found = recognizer.transcribe(files)
    assert printed == "".join(f"{t.path}: {t.text}\n" for t in found)
    alone = [recognizer.transcribe(path) for path in files]
    assert list(map(_rounded, found)) == list(map(_rounded, alone))
    wav = soundfile.read(files[0], dtype="int16")[0]
    same = recognizer.transcribe(wav, sample_rate=16000)
    assert _rounded(same).words == _rounded(found[0]).words
    assert same.text == found[0].text
    assert same.text == "bad cab" and len(same.words) == 2


def test_the_first_lines_of_the_readme(
    folder, files, tmp_path, monkeypatch, capsys
):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert len(code.split("\n")) - 1 - code.count("\n\n") == 4
    (tmp_path / "results" / "demo" / "finetune").mkdir(parents=True)
    folder.rename(tmp_path / "results" / "demo" / "finetune" / "bundle")
    samples = soundfile.read(files[0])[0]
    soundfile.write(tmp_path / "visit.mp3", samples, 16000)
    monkeypatch.chdir(tmp_path)
    exec(code, {"samples": samples.reshape(-1, 2).mean(1)})
    text, words = capsys.readouterr().out.splitlines()
    assert text == "bad cab" and "Word(text='bad'" in words


def test_options_reach_the_transcriber(folder):
    recognizer = nar_asr_lobes.load(folder, "cpu", mode="nar", batch_seconds=7)
    assert (recognizer.mode, recognizer.batch_seconds) == ("nar", 7)
    assert str(recognizer.device) == "cpu"


def test_hot_words_are_read_from_a_file(folder, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("# names\nab, bad\n")
    loaded = nar_asr_lobes.load(folder, mode="beam5", hot_words=str(path))
    assert loaded.recognizer.hot_words.phrases == ("ab", "bad")


def test_mistakes_are_one_sentence(folder, tmp_path):
    with pytest.raises(UserError, match="is not a bundle"):
        nar_asr_lobes.load(tmp_path)
    with pytest.raises(UserError, match="device 'cuda:99' cannot be used"):
        nar_asr_lobes.load(folder, device="cuda:99")
    with pytest.raises(UserError, match="device None cannot be used"):
        nar_asr_lobes.load(folder, device=None)
    with pytest.raises(UserError, match="a.txt: cannot read this list of hot"):
        nar_asr_lobes.load(folder, mode="beam5", hot_words=tmp_path / "a.txt")


def test_importing_the_package_imports_nothing_slow():
    code = (
        "import sys, nar_asr_lobes; nar_asr_lobes.load; "
        "print({'torch', 'numpy', 'soundfile'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")
