"""Non-autoregressive speech recognition for settings with little data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nar_asr_lobes.inference.transcriber import Transcriber

__version__ = "0.1.0"


def load(
    folder: str | os.PathLike, device: str = "auto", **options: Any
) -> Transcriber:
    """Open a trained recogniser.

    Arguments
    ---------
    folder : str or path
        The bundle that a fine-tuning wrote. No code from it is run.
    device : str
        "cpu", "cuda", "cuda:1", or "auto" for a GPU where there is one.
    **options
        Others of ``Transcriber``, such as mode="beam5" or batch_seconds=400.

    Returns
    -------
    Transcriber
        Its method ``transcribe`` takes a path, an array, or a list of them.

    Raises
    ------
    UserError
        In one sentence: for a folder that is no bundle or is damaged, a
        device or mode that cannot be used.

    Example
    -------
    >>> load("nowhere")
    Traceback (most recent call last):
    nar_asr_lobes.errors.UserError: nowhere: is not a bundle (bundle.json is \
missing); name the folder that a fine-tuning wrote
    """
    # Seconds of imports, which importing the package shall not wait for.
    from nar_asr_lobes.inference.bundle import load_bundle
    from nar_asr_lobes.inference.transcriber import Transcriber

    return Transcriber(load_bundle(folder), device=device, **options)
