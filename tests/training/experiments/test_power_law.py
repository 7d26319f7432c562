"""Power laws against known curves and scipy's curve_fit."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from nar_asr_lobes.training.experiments.power_law import (
    PowerLaw,
    fit_power_law,
)


def curve(hours, a, b, c):
    return a * hours**-b + c


def relative_squares(rates, fitted):
    return np.sum((fitted / rates - 1) ** 2)


@pytest.mark.parametrize(
    ("a", "b", "c"), [(0.5, 0.3, 0.0), (0.2, 1.0, 0.1), (0.9, 0.6, 0.05)]
)
def test_a_curve_without_noise_is_found(a, b, c):
    hours = np.array([0.5, 1, 2, 4, 8])
    law = fit_power_law(hours, curve(hours, a, b, c)[None])
    found = law.scale[0], law.exponent[0], law.floor[0]
    assert found == pytest.approx((a, b, c), abs=1e-4)
    assert law.rates([100.0])[0, 0] == pytest.approx(curve(100, a, b, c))
    assert law.hours(curve(20.0, a, b, c))[0] == pytest.approx(20, rel=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_no_fit_of_scipy_is_better(seed):
    rng = np.random.default_rng(seed)
    hours = np.sort(rng.uniform(0.1, 50, 5))
    rates = curve(hours, rng.uniform(0.1, 1), rng.uniform(0.1, 1.5), 0.1)
    rates *= np.exp(rng.normal(0, 0.05, 5))
    law = fit_power_law(hours, rates[None])
    ours = relative_squares(rates, law.rates(hours)[0])
    for start in (0.2, 0.6, 1.2):
        theirs, _ = curve_fit(
            curve,
            hours,
            rates,
            [0.3, start, 0.05],
            sigma=rates,
            bounds=([0, 1e-3, 0], [np.inf, 3, np.inf]),
            max_nfev=5000,
        )
        best = relative_squares(rates, curve(hours, *theirs))
        assert ours <= best * (1 + 1e-6) + 1e-12


def test_many_series_are_fitted_as_each_alone():
    rng = np.random.default_rng(0)
    hours, rates = [1, 2, 4, 8], rng.uniform(0.1, 0.5, (5, 4))
    law = fit_power_law(hours, rates)
    for place, series in enumerate(rates):
        alone = fit_power_law(hours, series[None])
        assert law.exponent[place] == alone.exponent[0]
        assert law.floor[place] == alone.floor[0] >= 0
        assert law.scale[place] == alone.scale[0] >= 0


def test_rates_that_rise_have_no_slope():
    law = fit_power_law([1, 2, 4, 8], np.array([[0.1, 0.2, 0.3, 0.4]]))
    assert law.rates([1, 8])[0, 0] == pytest.approx(law.rates([8])[0, 0])


def test_few_points_have_no_floor():
    law = fit_power_law([1, 4], np.array([[0.4, 0.2]]))
    assert (law.floor[0], law.exponent[0]) == (0, pytest.approx(0.5, abs=1e-4))


def test_a_rate_below_the_floor_needs_infinite_hours():
    law = PowerLaw(*(np.array([x]) for x in (0.4, 0.5, 0.1)))
    assert np.isinf(law.hours(0.1)[0]) and np.isinf(law.hours(0.05)[0])
    assert law.hours(0.3)[0] == pytest.approx(4)
