"""The outcome of one check."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A line about the machine.

    Arguments
    ---------
    text : str
        The fact.
    remedy : str
        The command that mends it; empty where all is well.
    needed : bool
        Whether it must be mended.

    Example
    -------
    >>> print(Finding("open files: 256 allowed", "ulimit -n 65536"))
    mend  open files: 256 allowed; ulimit -n 65536
    """

    text: str
    remedy: str = ""
    needed: bool = True

    @property
    def to_mend(self) -> bool:
        """Whether a training would fail or suffer."""
        return bool(self.remedy) and self.needed

    def __str__(self) -> str:
        if not self.remedy:
            return f"ok    {self.text}"
        kind = "mend" if self.needed else "note"
        return f"{kind}  {self.text}; {self.remedy}"
