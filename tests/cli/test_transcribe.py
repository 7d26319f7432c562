"""`nar-asr transcribe`, called as a function."""

import io
import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nar_asr_lobes.cli.main import main
from nar_asr_lobes.dataio.text.tokenizer import CharTokenizer
from nar_asr_lobes.decoding.beam import search as beam_search
from nar_asr_lobes.inference.bundle import load_bundle
from nar_asr_lobes.inference.formats import _to_json, _to_srt
from nar_asr_lobes.inference.transcriber import Transcriber


@pytest.fixture
def expected(bundle_folder, files):
    """The transcriber's own results for the files."""
    found = list(Transcriber(load_bundle(bundle_folder)).transcribe(files))
    assert len({transcript.text for transcript in found}) == len(files)
    return found


@pytest.fixture
def transcribe(bundle_folder, capsys):
    """Call the command; give its status, stdout and stderr."""

    def call(*arguments):
        status = main(
            ["transcribe", *arguments, "--bundle", str(bundle_folder)]
        )
        return status, *capsys.readouterr()

    return call


def test_one_file_prints_its_text_only(transcribe, files, expected):
    assert transcribe(files[0]) == (0, expected[0].text + "\n", "")


def test_several_files_are_named(transcribe, files, expected):
    status, out, err = transcribe(*files)
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{t.path}: {t.text}" for t in expected]


def test_json_is_a_line_for_each_file(transcribe, files, expected):
    status, out, _ = transcribe(*files, "--format", "json")
    assert status == 0
    assert out == "".join(map(_to_json, expected))
    assert [json.loads(line)["path"] for line in out.splitlines()] == files


def test_srt_of_one_file(transcribe, files, expected):
    assert transcribe(files[1], "--format", "srt")[1] == _to_srt(expected[1])


def test_srt_of_several_files_needs_a_folder(transcribe, files, tmp_path):
    status, out, err = transcribe(*files, "--format", "srt")
    assert (status, out) == (2, "")
    assert "give --output-dir" in err
    folder = tmp_path / "new" / "out"
    status, out, err = transcribe(
        *files, "--format", "srt", "--output-dir", str(folder)
    )
    assert (status, out, err) == (0, "", "")
    written = sorted(path.name for path in folder.iterdir())
    assert written == ["a.srt", "b.srt", "c.srt"]


def test_the_text_of_each_file_is_in_its_own_file(
    transcribe, files, expected, tmp_path
):
    (tmp_path / "a.txt").write_text("of the last run")
    assert transcribe(*files, "--output-dir", str(tmp_path))[0] == 0
    for transcript, name in zip(expected, "abc", strict=True):
        content = (tmp_path / f"{name}.txt").read_text()
        assert content == transcript.text + "\n"
    assert not list(tmp_path.glob(".*"))


def test_two_files_never_share_an_output(transcribe, files, tmp_path):
    other = str(tmp_path / "ward" / "a.mp3")
    status, _, err = transcribe(files[0], other, "--output-dir", str(tmp_path))
    assert status == 2
    assert f"{files[0]} and {other} would both be written to" in err
    assert not (tmp_path / "a.txt").exists()


def test_bad_files_are_named_and_the_others_done(transcribe, files, expected):
    status, out, err = transcribe("gone.wav", files[0], "lost.wav")
    assert status == 1
    assert out == f"{files[0]}: {expected[0].text}\n"
    assert err.splitlines() == [
        "gone.wav: is missing; check the path",
        "lost.wav: is missing; check the path",
        "2 of 3 files could not be transcribed",
    ]
    assert transcribe("gone.wav")[0] == 1


def test_mode_and_limit_reach_the_transcriber(
    transcribe, files, bundle_folder, expected
):
    greedy = Transcriber(load_bundle(bundle_folder), "ctc_greedy")
    [found] = greedy.transcribe(files[:1])
    assert found.text != expected[0].text  # the bundle's mode is nar
    assert transcribe(files[0], "--mode", "ctc_greedy")[1] == f"{found.text}\n"
    status, _, err = transcribe(files[0], "--max-seconds", "0.5")
    assert status == 1 and "longer than the limit of 0.5 s" in err


def test_device_and_size_of_batches_reach_the_transcriber(
    transcribe, files, expected, monkeypatch
):
    made = []

    class Watched(Transcriber):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(
        "nar_asr_lobes.inference.transcriber.Transcriber", Watched
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for options in ([], ["--device", "cpu"], ["--batch-seconds", "0.5"]):
        assert transcribe(files[0], *options)[1] == expected[0].text + "\n"
    assert [str(each.device) for each in made] == ["cpu"] * 3
    assert [each.batch_seconds for each in made] == [100, 100, 0.5]


def test_threads(transcribe, files, monkeypatch):
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    assert transcribe(files[0], "--threads", "3")[0] == 0
    assert used == [3]


def test_hot_words_change_what_the_beam_finds(
    transcribe, files, tmp_path, caplog
):
    listed = tmp_path / "names.txt"
    listed.write_text("Ab\ncg f\n")
    beam = files[0], "--mode", "beam5"
    status, plain, _ = transcribe(*beam)
    assert status == 0
    hot = *beam, "--hot-words", str(listed)
    status, found, _ = transcribe(*hot, "--hot-boost", "0")
    assert (status, found) == (0, plain)
    assert "1 of 2 hot words cannot be recognised" in caplog.text
    listed.write_text("g\nc\nab\ne\n")
    status, found, err = transcribe(*hot, "--hot-boost", "5")
    assert (status, err) == (0, "") and found != plain


def test_beam_size_reaches_the_search(transcribe, files, monkeypatch):
    sizes, search = [], beam_search.prefix_beam_search

    def watched(log_probs, options, *arguments, **others):
        sizes.append(options.beam_size)
        return search(log_probs, options, *arguments, **others)

    monkeypatch.setattr(beam_search, "prefix_beam_search", watched)
    for option in ([], ["--beam-size", "40"]):
        assert transcribe(files[0], "--mode", "beam5", *option)[0] == 0
    assert sizes == [5, 40]


@pytest.mark.parametrize(
    "option",
    ["--threads", "--max-seconds", "--batch-seconds", "--beam-size"],
)
@pytest.mark.parametrize("wrong", ["0", "-1", "many", "nan", "inf"])
def test_numbers_are_above_0(transcribe, files, option, wrong):
    with pytest.raises(SystemExit):
        transcribe(files[0], f"{option}={wrong}")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--mode", "beam6"], "error: unknown decoding mode 'beam6'"),
        (["--mode", "beam5_lm"], "error: decoding mode beam5_lm needs"),
        (["--device", "cuda:99"], "error: device 'cuda:99' cannot be used"),
        (["--device", "abacus"], "error: device 'abacus' cannot be used on"),
        (["--output-dir", "{file}/out"], "error: {file}/out: cannot be writt"),
        (["--output-dir", "{file}"], "error: {file}: cannot be written"),
        (["--hot-words", "gone"], "error: gone: cannot read this list"),
        (["--hot-words", "{file}"], "error: {file}: is not UTF-8"),
        (["--hot-boost", "2"], "error: --hot-boost has no effect without"),
        (["--beam-size", "9"], "error: decoding mode nar has no beam, so"),
        (
            ["--beam-size", "1000001", "--mode", "beam5"],
            "error: decoding.beam5: beam_size is 1000001",
        ),
    ],
)
def test_mistakes_end_with_2(transcribe, files, arguments, message):
    arguments = [word.format(file=files[1]) for word in arguments]
    status, out, err = transcribe(files[0], *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(message.format(file=files[1]))


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_a_file_name_that_is_not_utf8(transcribe, files, expected, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    os.rename(files[0], name)
    status, out, err = transcribe(name, files[1])
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"{tmp_path}/caf\\xe9.wav: {expected[0].text}",
        f"{files[1]}: {expected[1].text}",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("form", ["txt", "json"])
def test_no_transcript_is_lost_to_the_encoding_of_the_console(
    bundle_folder, files, expected, tmp_path, monkeypatch, encoding, form
):
    other = CharTokenizer(" аéя天дø😀")  # as many as " abcdefg"
    bundle = load_bundle(bundle_folder)
    bundle = replace(bundle, tokenizer=other)
    monkeypatch.setattr(
        "nar_asr_lobes.inference.bundle.load_bundle", lambda _: bundle
    )
    [wanted] = Transcriber(bundle).transcribe(files[:1])
    assert not wanted.text.isascii()
    console = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", console)
    arguments = ["transcribe", files[0], "--bundle", "b", "--format", form]
    assert main(arguments) == 0
    printed = console.buffer.getvalue().decode(encoding)
    if form == "json":
        assert json.loads(printed)["text"] == wanted.text
    else:
        assert json.loads(f'"{printed.strip()}"') == wanted.text


def test_a_pipe_and_standard_input(
    transcribe, files, expected, tmp_path, monkeypatch
):
    for path, wanted in zip(files, expected, strict=True):
        content = Path(path).read_bytes()
        pipe = str(tmp_path / "pipe")
        os.mkfifo(pipe)
        writer = threading.Thread(target=Path(pipe).write_bytes, args=[content])
        writer.start()
        assert transcribe(pipe) == (0, wanted.text + "\n", "")
        writer.join()
        os.remove(pipe)
        stdin = SimpleNamespace(buffer=io.BytesIO(content))
        monkeypatch.setattr("sys.stdin", stdin)
        folder = ["--output-dir", str(tmp_path)]
        assert transcribe("-", *folder) == (0, "", "")
        assert (tmp_path / "stdin.txt").read_text() == wanted.text + "\n"


def test_a_broken_pipe_is_called_by_its_name(transcribe, monkeypatch):
    stdin = SimpleNamespace(buffer=io.BytesIO(b"no audio" * 99))
    monkeypatch.setattr("sys.stdin", stdin)
    status, out, err = transcribe("-")
    assert (status, out) == (1, "")
    assert err.startswith("-: cannot be read as audio (")
    assert "convert it (ffmpeg -i IN -ac 1 -ar 16000 OUT.wav)" in err


def test_no_space_for_what_a_pipe_sends(transcribe, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    stdin = SimpleNamespace(buffer=SimpleNamespace(read=full))
    monkeypatch.setattr("sys.stdin", stdin)
    status, out, err = transcribe("-")
    assert (status, out) == (1, "")
    assert err.startswith("-: cannot be copied to ") and "TMPDIR" in err


def test_a_recording_that_lacks_a_little_is_done_with_a_line(
    transcribe, files, expected
):
    with open(files[0], "r+b") as file:
        file.truncate(file.seek(0, 2) - 2 * 480)
    status, out, err = transcribe(*files)
    assert status == 0 and len(out.splitlines()) == 3
    (line,) = err.splitlines()
    assert line.startswith(f"{files[0]}: ends a little before its header says")
