"""Pretraining100k: indexes that other recipes have made, and no corpus."""

from __future__ import annotations

from collections.abc import Iterable

from nar_asr_lobes.dataio.manifest import Utterance
from nar_asr_lobes.errors import UserError


def prepare(data_folder: str) -> dict[str, Iterable[Utterance]]:
    """Refuse to parse: a run with ``data.index`` does not come here.

    Arguments
    ---------
    data_folder : str
        Not read.

    Raises
    ------
    UserError
        Always.

    Example
    -------
    >>> prepare(".")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: Pretraining100k has no corpus of its own; \
give indexes made by `nar-asr index`: --data='{index: {NAME: FOLDER}}'
    """
    raise UserError(
        "Pretraining100k has no corpus of its own; give indexes made by "
        "`nar-asr index`: --data='{index: {NAME: FOLDER}}'"
    )
