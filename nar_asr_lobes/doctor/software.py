"""Python, the packages that setup.py names, CUDA and the driver."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nar_asr_lobes.doctor.finding import Finding
from nar_asr_lobes.storage import describe_size

_PACKAGE = "nar-asr-lobes"
_EXTRAS = {
    "lm": "only tests compare with it",
    "demo": "synthetic speech",
    "eval": "normaliser and plots of evaluations",
}
# Those whose libraries may be missing or of another build.
_IMPORTED = ("torch", "torchaudio", "speechbrain", "soundfile", "numba")
_PAIR = ("torch", "torchaudio")
_DRIVER = Path("/proc/driver/nvidia/version")
_INSTALL = "pip install -e . in the repository"


def check_packages() -> Iterator[Finding]:
    """Compare Python and the packages with what the installation needs."""
    try:
        needed = metadata.requires(_PACKAGE) or []
        python = metadata.metadata(_PACKAGE)["Requires-Python"]
    except metadata.PackageNotFoundError:
        yield Finding(f"{_PACKAGE}: is not installed", _INSTALL)
        return
    version = ".".join(map(str, sys.version_info[:3]))
    fits = SpecifierSet(python).contains(version)
    remedy = "" if fits else f"make .venv with a Python {python}"
    yield Finding(f"Python {version}", remedy)
    for line in needed:
        requirement = Requirement(line)
        extras = [extra for extra in _EXTRAS if f'"{extra}"' in line]
        if extras or requirement.marker is None:
            yield _check_package(requirement, *extras)


def _check_package(requirement: Requirement, extra: str = "") -> Finding:
    """Look for a package in its version, and import it."""
    name = requirement.name
    install = f"pip install '{name}{requirement.specifier}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        purpose = f" ({_EXTRAS[extra]})" if extra else ""
        return Finding(f"{name}: is not there{purpose}", install, not extra)
    if not requirement.specifier.contains(version):
        return Finding(f"{name} {version}: is another version", install)
    details = ""
    if name in _IMPORTED:
        try:
            module = import_module(name)
        except Exception as error:  # of whatever its libraries lack
            reason = " ".join(str(error).split())
            names = _PAIR if name in _PAIR else (name,)
            return Finding(
                f"{name} {version}: {reason}", _again(version, names)
            )
        if name == "soundfile":
            details = f" (libsndfile {module.__libsndfile_version__})"
    return Finding(f"{name} {version}{details}")


def _again(version: str, names: Sequence[str] = _PAIR) -> str:
    """Give the command that installs packages of one version anew."""
    plain = version.partition("+")[0]
    wanted = " ".join(f"{name}=={plain}" for name in names)
    return f"pip install --force-reinstall {wanted}"


def check_pair() -> Finding:
    """Compare the builds of torch and torchaudio."""
    import torch
    import torchaudio

    ours, theirs = torch.__version__, torchaudio.__version__
    text = f"torch {ours} and torchaudio {theirs}"
    if ours == theirs:
        return Finding(f"{text} match")
    return Finding(f"{text} do not match", _again(ours))


def check_gpus() -> Iterator[Finding]:
    """Look at CUDA, driver, GPUs and NCCL."""
    import torch

    driver = _driver()
    text = f"CUDA {torch.version.cuda or 'is not in this torch'}"
    text += f", driver {driver}" if driver else ", no driver"
    count = torch.cuda.device_count()
    if not driver and not count:
        yield Finding(f"{text}: training on the CPU")
    elif torch.version.cuda is None:
        yield Finding(text, _again(torch.__version__))
    elif not count:
        newer = "install a newer driver (nvidia-smi tells its CUDA version)"
        yield Finding(f"{text}: no GPU can be used", newer)
    else:
        yield Finding(text)
    for number in range(count):
        gpu = torch.cuda.get_device_properties(number)
        size = describe_size(gpu.total_memory)
        yield Finding(f"GPU {number}: {gpu.name}, {size}")
    if count:
        yield _check_nccl(count)


def _check_nccl(gpus: int) -> Finding:
    import torch

    if torch.distributed.is_nccl_available():
        version = ".".join(map(str, torch.cuda.nccl.version()))
        return Finding(f"NCCL {version}")
    return Finding("NCCL: is not there", _again(torch.__version__), gpus > 1)


def _driver() -> str:
    """Give the version of the NVIDIA driver, empty without one."""
    if not _DRIVER.exists() and not shutil.which("nvidia-smi"):
        return ""
    query = ("--query-gpu=driver_version", "--format=csv,noheader")
    try:
        done = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return "of unknown version"
    versions = done.stdout.split() if done.returncode == 0 else []
    return versions[0] if versions else "of unknown version"
