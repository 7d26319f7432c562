"""Packages, CUDA and NCCL on environments made up here."""

import sys
import types
from importlib import metadata

import pytest
import torch

from nar_asr_lobes.doctor import software
from nar_asr_lobes.doctor.software import check_gpus, check_packages, check_pair

PAIR = "pip install --force-reinstall torch==2.11.0 torchaudio==2.11.0"


def lines(findings):
    return [str(finding) for finding in findings]


def mended(findings):
    """The lines that are not all right."""
    return [x for x in lines(findings) if not x.startswith("ok  ")]


@pytest.fixture
def versions(monkeypatch):
    """Return a function that changes the versions that pip would tell."""
    given, real = {}, metadata.version

    def version(name):
        if given.get(name, "") is None:
            raise metadata.PackageNotFoundError(name)
        return given.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    return given.update


def test_all_packages_of_the_installation_are_looked_at():
    found = lines(check_packages())
    version = ".".join(map(str, sys.version_info[:3]))
    assert found[0] == f"ok    Python {version}"
    assert f"ok    torch {metadata.version('torch')}" in found
    assert any("(libsndfile 1." in x for x in found)
    assert not any("pytest" in x or "ruff" in x for x in found)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"jiwer": None}, "mend  jiwer: is not there; pip install 'jiwer==4.0"),
        ({"numba": "0.60.0"}, "mend  numba 0.60.0: is another version; pip in"),
        (
            {"kenlm": None},
            "note  kenlm: is not there (only tests compare with it); pip insta",
        ),
        ({"espeakng-loader": None}, "note  espeakng-loader: is not there (syn"),
    ],
)
def test_packages_that_are_missing_or_others(versions, given, line):
    versions(given)
    [found] = mended(check_packages())
    assert found.startswith(line)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("torchaudio", PAIR),
        ("soundfile", "pip install --force-reinstall soundfile=="),
    ],
)
def test_a_package_that_cannot_be_imported(monkeypatch, name, remedy):
    def fail(wanted):
        if wanted == name:
            raise OSError("libx.so:\n undefined symbol")
        return __import__(wanted)

    monkeypatch.setattr(software, "import_module", fail)
    [found] = mended(check_packages())
    assert f": libx.so: undefined symbol; {remedy}" in found


def test_a_package_that_is_not_installed(monkeypatch):
    def fail(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", fail)
    told = ["mend  nar-asr-lobes: is not installed; pip install -e . in the"]
    assert [x[: len(told[0])] for x in lines(check_packages())] == told


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    [found] = mended(check_packages())
    assert found == "mend  Python 3.9.1; make .venv with a Python >=3.10"


def test_torch_and_torchaudio_of_two_builds(monkeypatch):
    monkeypatch.setattr("torch.__version__", "2.11.0+cu130")
    monkeypatch.setattr("torchaudio.__version__", "2.11.0+cu130")
    assert not check_pair().remedy
    monkeypatch.setattr("torchaudio.__version__", "2.11.0+cpu")
    assert check_pair().to_mend and str(check_pair()).endswith(PAIR)


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes up driver, build and GPUs."""
    size = types.SimpleNamespace(name="H200", total_memory=150e9)

    def make(driver, cuda, gpus, nccl=True):
        monkeypatch.setattr(software, "_driver", lambda: driver)
        monkeypatch.setattr("torch.__version__", f"2.11.0+{cuda or 'cpu'}")
        monkeypatch.setattr("torch.version.cuda", cuda)
        monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: size)
        monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 28, 9))
        monkeypatch.setattr("torch.distributed.is_nccl_available", lambda: nccl)
        return lines(check_gpus())

    return make


def test_gpus(machine):
    assert machine("", "13.0", 0) == [
        "ok    CUDA 13.0, no driver: training on the CPU"
    ]
    assert machine("", None, 0) == [
        "ok    CUDA is not in this torch, no driver: training on the CPU"
    ]
    assert machine("580.1", "13.0", 2) == [
        "ok    CUDA 13.0, driver 580.1",
        "ok    GPU 0: H200, 150.0 GB",
        "ok    GPU 1: H200, 150.0 GB",
        "ok    NCCL 2.28.9",
    ]


def test_gpus_that_cannot_be_used(machine):
    assert machine("580.1", None, 0) == [
        f"mend  CUDA is not in this torch, driver 580.1; {PAIR}"
    ]
    [found] = machine("470.2", "13.0", 0)
    assert found.startswith(
        "mend  CUDA 13.0, driver 470.2: no GPU can be used; install a newer dr"
    )
    assert machine("580.1", "13.0", 2, nccl=False)[-1] == (
        f"mend  NCCL: is not there; {PAIR}"
    )
    assert machine("580.1", "13.0", 1, nccl=False)[-1].startswith("note  NCCL")


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("echo 580.65.06; echo 580.65.06", "580.65.06"),
        ("exit 9", "of unknown version"),
    ],
)
def test_the_driver(monkeypatch, tmp_path, script, version):
    monkeypatch.setattr(software, "_DRIVER", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert software._driver() == ""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert software._driver() == version
