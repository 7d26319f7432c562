"""Where a model runs."""

from __future__ import annotations

import torch

from nar_asr_lobes.errors import UserError


def usable_device(name: str) -> torch.device:
    """Find the device of this name and try it; "auto" is a GPU, if any.

    Raises
    ------
    UserError
        If there is no such device.

    Example
    -------
    >>> usable_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(
            f"device {name!r} cannot be used on this machine; choose auto, "
            "cpu, cuda or cuda:N"
        ) from error
    return device
