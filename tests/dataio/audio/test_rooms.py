"""Rooms: images by brute force, decay by Schroeder's integration."""

import numpy as np
import pytest
from scipy.stats import linregress

from nar_asr_lobes.dataio.audio import rooms

SIZE = (3.0, 2.5, 2.2)


def measured_rt60(response, rate=16000):
    """Fit a line to Schroeder's curve from -5 to -30 dB."""
    levels = []
    left = 0.0
    for sample in reversed(response.tolist()):
        left += sample**2
        levels.append(left)
    levels = 10 * np.log10(np.array(levels[::-1]) / left)
    some = (levels < -5) & (levels > -30)
    slope = linregress(np.arange(len(levels))[some] / rate, levels[some]).slope
    return -60 / slope


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("size", "seconds"), [((5.0, 4.0, 2.7), 0.3), ((6.0, 5.0, 2.8), 0.5)]
)
def test_the_energy_decays_as_asked_for(size, seconds, place):
    response = rooms.room_response(size, seconds, place)
    assert measured_rt60(response) == pytest.approx(seconds, rel=0.1)
    assert response[0] == 1


def mirrored(position, hits, size, reach, microphone):
    """Yield the images of a position behind each wall, again and again."""
    seen = {tuple(np.round(position, 6)): 0}
    pending = [(position, 0)]
    while pending:
        position, hits = pending.pop(0)
        for axis in range(3):
            for wall in (0.0, size[axis]):
                image = position.copy()
                image[axis] = 2 * wall - image[axis]
                key = tuple(np.round(image, 6))
                far = np.linalg.norm(image - microphone) > 2 * reach
                if key not in seen and not far:
                    seen[key] = hits + 1
                    pending.append((image, hits + 1))
    return seen


def test_the_images_are_those_of_mirrors():
    seconds = 0.02
    reach = 343 * seconds
    mouth, microphone = rooms._positions(SIZE, 3)
    images = mirrored(mouth, 0, SIZE, reach, microphone)
    expected = [
        (np.linalg.norm(np.array(place) - microphone), hits)
        for place, hits in images.items()
    ]
    expected = sorted(x for x in expected if x[0] < reach)
    delays, hits, metres = rooms._images(SIZE, seconds, 3)
    assert len(expected) > 50
    assert np.array(sorted(zip(metres, hits, strict=True))) == pytest.approx(
        np.array(expected), abs=1e-4
    )
    assert delays == pytest.approx(metres / 343 * 16000, abs=0.5)


def test_mouth_and_microphone_are_inside_and_near():
    for place in range(20):
        ends = rooms._positions(SIZE, place)
        assert (ends >= 0.5).all() and (ends <= np.array(SIZE) - 0.5).all()
        assert 1 <= np.linalg.norm(ends[0] - ends[1]) <= 2


def test_reverberation_is_a_convolution_as_loud_and_long():
    rng = np.random.default_rng(0)
    wav, response = rng.normal(size=300), rng.normal(size=80)
    wet = rooms.reverberate(wav, response)
    assert len(wet) == 300
    assert np.mean(wet**2) == pytest.approx(np.mean(wav**2))
    naive = np.convolve(wav, response)[:300]
    assert wet / naive == pytest.approx(np.full(300, wet[0] / naive[0]))
    assert not rooms.reverberate(np.zeros(10), response).any()
