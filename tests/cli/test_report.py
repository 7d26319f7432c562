"""`nar-asr report`, called as a function."""

from nar_asr_lobes.cli.main import main
from tests.report.output_folders import write_run


def test_the_page_is_written_and_no_text_is_printed(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    assert main(["report", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert f"{folder / 'report.html'}: 0.0 MB" in printed
    assert "test: Intervals from resampled speakers (2)." in printed
    for word in ("pain", "u1", "script", "data:audio"):
        assert word not in printed
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert '["pain","pan"]' in page
    assert "data:audio" not in page  # only where it is asked for


def test_output_and_audio_are_chosen(tmp_path):
    folder = write_run(tmp_path / "run")
    path = tmp_path / "b" / "x.html"
    arguments = ["report", str(folder), "--audio", "2", "--output", str(path)]
    assert main(arguments) == 0
    assert path.read_text(encoding="utf-8").count("data:audio") == 2


def test_a_mistake_is_one_sentence(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {tmp_path}: holds neither"
    )


def test_a_negative_number_of_clips_is_refused(tmp_path, capsys):
    assert main(["report", str(write_run(tmp_path)), "--audio", "-1"]) == 2
    assert "--audio" in capsys.readouterr().err
