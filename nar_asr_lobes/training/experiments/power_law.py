"""A power law through error rates: rate = a hours^-b + c, a, b and c >= 0.

    hours [P], rates [R, P] -> R curves -> rates at other hours, hours of a rate

The squares of the relative errors are least. For a given b the best a and c
are known, so b alone is searched, over all its range: no start has to be
chosen, and a fit cannot fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_WITH_FLOOR = 4  # points; fewer have no c
_EXPONENTS = (1e-3, 3.0)
_GRID = 200
_ROUNDS = 4  # of the search, each in the interval that the one before found
_LEAST_RATE = 1e-6


@dataclass(frozen=True)
class PowerLaw:
    """R curves.

    Arguments
    ---------
    scale, exponent, floor : numpy.ndarray
        a, b and c, [R] each.
    """

    scale: np.ndarray
    exponent: np.ndarray
    floor: np.ndarray

    def rates(self, hours: Sequence[float]) -> np.ndarray:
        """Give the rates at H numbers of hours, [R, H]."""
        powers = np.asarray(hours) ** -self.exponent[:, None]
        return self.scale[:, None] * powers + self.floor[:, None]

    def hours(self, rate: float) -> np.ndarray:
        """Give the hours that have a rate, [R]; infinite where none have."""
        above = rate - self.floor
        with np.errstate(divide="ignore", over="ignore"):
            ratio = self.scale / np.where(above > 0, above, np.nan)
            found = ratio ** (1 / self.exponent)
        return np.where(above > 0, found, np.inf)


def fit_power_law(hours: Sequence[float], rates: np.ndarray) -> PowerLaw:
    """Fit a power law to each of R series of error rates.

    Arguments
    ---------
    hours : sequence of float
        Above 0 and different from each other, [P], P at least 2.
    rates : numpy.ndarray
        [R, P]

    Returns
    -------
    PowerLaw
        With c = 0 for fewer than 4 points.

    Example
    -------
    >>> hours = np.array([1.0, 2.0, 4.0, 8.0])
    >>> law = fit_power_law(hours, np.array([0.4 * hours**-0.5 + 0.1]))
    >>> [round(float(x[0]), 3) for x in (law.scale, law.exponent, law.floor)]
    [0.4, 0.5, 0.1]
    """
    hours = np.asarray(hours, dtype=float)
    weights = 1 / np.maximum(np.asarray(rates, dtype=float), _LEAST_RATE)
    has_floor = len(hours) >= LEAST_WITH_FLOOR
    low, high = (np.full(len(weights), limit) for limit in _EXPONENTS)
    every = np.arange(len(weights))
    for _ in range(_ROUNDS):
        grid = np.linspace(low, high, _GRID, axis=1)  # [R, B]
        scale, floor, squares = _linear(hours, weights, grid, has_floor)
        best = squares.argmin(1)
        low = grid[every, np.maximum(best - 1, 0)]
        high = grid[every, np.minimum(best + 1, _GRID - 1)]
    chosen = (every, best)
    return PowerLaw(scale[chosen], grid[chosen], floor[chosen])


def _linear(
    hours: np.ndarray, weights: np.ndarray, grid: np.ndarray, has_floor: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best a and c, neither below 0, and the squares, [R, B] each."""
    u = hours ** -grid[..., None] * weights[:, None]  # [R, B, P]
    v = np.broadcast_to(weights[:, None], u.shape)
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    u1, v1 = u.sum(-1), v.sum(-1)
    a, c = u1 / uu, np.zeros_like(u1)
    if has_floor:
        determinant = uu * vv - uv * uv
        inside = determinant > 1e-12 * uu * vv
        safe = np.where(inside, determinant, 1.0)
        free_a = (u1 * vv - v1 * uv) / safe
        free_c = (v1 * uu - u1 * uv) / safe
        flat = inside & (free_a < 0)
        inside &= (free_a >= 0) & (free_c >= 0)
        a = np.where(inside, free_a, np.where(flat, 0.0, a))
        c = np.where(inside, free_c, np.where(flat, v1 / vv, c))
    rest = 1 - a[..., None] * u - c[..., None] * v
    return a, c, (rest * rest).sum(-1)
