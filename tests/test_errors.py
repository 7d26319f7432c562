"""Whatever a console's encoding is, printing to it does not fail."""

import io
import json
import sys

import pytest

from nar_asr_lobes.training.run import main


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_recipe_prints_what_the_console_lacks_as_escapes(
    encoding, monkeypatch
):
    console = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", console)
    assert main(["missing.yaml"], prepare=dict) == 2
    print(json.dumps("né 天 😀 \udce9", ensure_ascii=False), flush=True)
    printed = console.buffer.getvalue().decode(encoding)
    assert json.loads(printed) == "né 天 😀 \udce9"
