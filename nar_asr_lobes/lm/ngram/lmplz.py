"""KenLM's own n-gram estimator, the program ``lmplz``, where it is found."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from nar_asr_lobes.errors import UserError

# lmplz's default, 80 % of the machine, is touched even for a ten-line text.
_MEMORY = "1G"


def find_lmplz() -> str | None:
    """Look for lmplz in the folder $KENLM_BIN, or else on PATH.

    Returns
    -------
    str or None
        Path of the program; None if there is none on PATH.

    Raises
    ------
    UserError
        If KENLM_BIN is set but has no lmplz.
    """
    folder = os.environ.get("KENLM_BIN")
    if not folder:
        return shutil.which("lmplz")
    program = shutil.which("lmplz", path=folder)
    if program is None:
        raise UserError(
            f"KENLM_BIN={folder}: there is no program lmplz in this folder;"
            " point KENLM_BIN at the folder that holds it, or unset it"
        )
    return program


def run_lmplz(
    program: str,
    sentences: Iterable[Sequence[str]],
    order: int,
    prune: Sequence[int],
    folder: Path,
) -> Path:
    """Estimate a model with lmplz.

    Arguments
    ---------
    program : str
        Path of lmplz.
    sentences : iterable of sequences of str
        The words of each sentence; none is special or holds white space.
    order : int
        Longest n-gram.
    prune : sequence of int
        Largest count to drop, for each order.
    folder : path
        Exists; takes the text, lmplz's own temporary files and the result.

    Returns
    -------
    path
        The ARPA file.

    Raises
    ------
    UserError
        If lmplz fails, with its last words.
    """
    text, arpa = folder / "text.txt", folder / "lmplz.arpa"
    with open(text, "w", encoding="utf-8", newline="\n") as file:
        for words in sentences:
            # The space keeps a first word such as "BZh" from being taken for
            # the start of a compressed file.
            file.write(f" {' '.join(words)}\n")
    command = [program, "--order", str(order), "--memory", _MEMORY]
    command += ["--text", str(text), "--arpa", str(arpa)]
    command += ["--temp_prefix", f"{folder}{os.sep}", "--discount_fallback"]
    if any(prune):
        command += ["--prune", *map(str, prune)]
    try:
        result = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise UserError(
            f"{program}: cannot be started ({error.strerror}); mend it, or"
            " train with use_lmplz=False"
        ) from error
    if result.returncode != 0:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(
            f"{program} failed with status {result.returncode}"
            f" ({said[-1] if said else 'it said nothing'}); mend it, or"
            " train with use_lmplz=False"
        )
    return arpa
