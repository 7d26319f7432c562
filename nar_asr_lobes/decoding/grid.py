"""Errors at every point of a grid of options."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nar_asr_lobes.dataio.text.normalization import has_no_words
from nar_asr_lobes.errors import UserError


@dataclass(frozen=True)
class Tuning:
    """The outcome of a grid search."""

    names: tuple[str, ...]  # of the options varied
    grid: list[Any]  # the options at each point
    errors: list[int]  # word errors at each point
    words: int  # of the references (characters without spaces)

    @property
    def best(self) -> Any:
        """The options with the fewest errors, of equal ones the first."""
        return self.grid[self.errors.index(min(self.errors))]

    @property
    def surface(self) -> list[dict[str, float]]:
        """The varied options and the errors of each point."""
        return [
            {name: getattr(point, name) for name in self.names}
            | {"errors": errors}
            for point, errors in zip(self.grid, self.errors, strict=True)
        ]


def try_grid(
    options: Any,
    values: dict[str, Sequence[float]],
    count: Callable[[Any], int],
    references: Sequence[str],
    progress: Callable[[list[Any]], Iterable[Any]] = iter,
    order: Callable[[Any], Any] | None = None,
) -> Tuning:
    """Count the errors at all points of a grid, in order."""
    grid = [
        replace(options, **dict(zip(values, point, strict=True)))
        for point in itertools.product(*values.values())
    ]
    if not grid:
        raise UserError(
            f"the grid to tune on is empty; give at least one value of each "
            f"of {', '.join(values)}"
        )
    if order is not None:
        grid.sort(key=order)
    counted = [(point, count(point)) for point in progress(grid)]
    points, errors = map(list, zip(*counted, strict=True))
    words = sum(
        len(reference) if has_no_words(reference) else len(reference.split())
        for reference in references
    )
    return Tuning(tuple(values), points, errors, words)
