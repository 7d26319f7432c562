"""Files are written piece by piece and refused in one sentence."""

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch

from nar_asr_lobes.errors import UserError
from nar_asr_lobes.tensors import open_tensors, write_tensors


def test_parts_are_joined_and_all_are_aligned(tmp_path):
    path = tmp_path / "a"
    floats = [np.arange(6, dtype="<f4").reshape(-1, 2)] * 2
    longs, empty = np.arange(3, dtype="<i8"), np.zeros(0, "<i4")
    write_tensors(path, "it", [1], {"f": floats, "l": [longs], "e": [empty]})
    record, tensors = open_tensors(path, "it", "")
    assert record == [1]
    assert torch.equal(tensors["f"], torch.from_numpy(np.concatenate(floats)))
    assert tensors["l"].tolist() == [0, 1, 2] and len(tensors["e"]) == 0
    assert all(v.numpy().flags.aligned for v in tensors.values())
    assert set(safetensors.numpy.load_file(path)) == {"f", "l", "e"}


def test_files_of_others(tmp_path):
    path = tmp_path / "a"
    for metadata in (None, {"kind": "it"}, {"kind": "other", "record": "1"}):
        safetensors.numpy.save_file({"x": np.ones(2)}, path, metadata)
        with pytest.raises(UserError, match="a: is no whole file of it .*; do"):
            open_tensors(path, "it", "do")


def test_unreadable(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a").write_text("")
    monkeypatch.setattr(safetensors, "safe_open", refuse)
    with pytest.raises(UserError, match=r"a: cannot be read \(Permission"):
        open_tensors(tmp_path / "a", "it", "")
