"""Log-mel pictures: tones where they belong, loudness left out, long and short sounds, silence."""

from __future__ import annotations

import numpy as np
import pytest

from regrow.sound import RANGE, _triangles, log_mel

RATE = 8000


def _tone(hertz: float, seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_triangles_add_up_to_one_between_the_outer_centres(rate: int) -> None:
    bands = _triangles(4096, rate, 40)
    first, last = bands[0].argmax(), bands[-1].argmax()
    np.testing.assert_allclose(bands[:, first + 1 : last].sum(0), 1, atol=1e-9)
    assert (bands.max(1) > 0.5).all()
    assert (np.diff(bands.argmax(1)) > 0).all()


def test_a_tone_is_brightest_in_the_band_around_it() -> None:
    centres = _triangles(512, RATE, 40).argmax(1) * RATE / 512
    for hertz in (200, 500, 1000, 3000):
        picture = log_mel(_tone(hertz, 1.2), RATE, 50, 40)
        assert picture.shape == (50, 40)
        assert abs(int(picture.mean(0).argmax()) - int(np.abs(centres - hertz).argmin())) <= 1


def test_loudness_is_left_out_and_the_range_is_kept() -> None:
    sound = np.random.default_rng(0).normal(size=RATE) * _tone(2, 1)
    picture = log_mel(sound, RATE, 50, 40)
    np.testing.assert_allclose(log_mel(sound * 1e-3, RATE, 50, 40), picture, atol=1e-9)
    assert (picture.max(), picture.min()) == (0, -RANGE)


def test_a_short_sound_stands_in_the_middle_and_of_a_long_one_the_loudest_stretch_is_left() -> None:
    bright = log_mel(_tone(1000, 0.2), RATE, 50, 40).max(1) > -RANGE
    assert 10 <= bright.sum() <= 13
    assert abs(np.flatnonzero(bright).mean() - 24.5) < 1
    long = np.concatenate([np.zeros(3 * RATE), _tone(1000, 1.5), np.zeros(RATE)])
    assert (log_mel(long, RATE, 50, 40).max(1) > -6).all()


def test_silence_is_dark() -> None:
    assert (log_mel(np.zeros(100), RATE, 50, 40) == -RANGE).all()
