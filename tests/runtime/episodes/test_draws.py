"""The integer generator: known values, exact floats, streams that differ by name."""

import numpy as np

from regrow.episodes.draws import GAMMA, Draws, _key


def _splitmix64(state: int, count: int) -> list[int]:
    """Steele et al. 2014, as printed, in Python's integers."""
    mask, out = (1 << 64) - 1, []
    for _ in range(count):
        state = (state + GAMMA) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        out.append(z ^ (z >> 31))
    return out


def test_bits_are_splitmix64_of_the_key() -> None:
    assert Draws("demo", 1).bits(100).tolist() == _splitmix64(_key(("demo", 1)), 100)


def test_reference_value_of_splitmix64() -> None:
    # The first output for seed 1234567, from the reference C program.
    assert _splitmix64(1234567, 1) == [6457827717110365317]


def test_draws_do_not_depend_on_how_they_are_grouped() -> None:
    whole, parts = Draws("a", 7), Draws("a", 7)
    assert whole.bits(10).tolist() == [*parts.bits(4).tolist(), *parts.bits(6).tolist()]


def test_every_word_of_the_name_matters() -> None:
    names = [("a", 1, 2), ("a", 2, 1), ("b", 1, 2), ("a", 1), ("a", -1, 2), ("a", 1 << 40, 2)]
    assert len({Draws(*name).bits(1)[0] for name in names}) == len(names)


def test_below_and_uniform_stay_inside_and_are_even() -> None:
    numbers = Draws("even").below(60_000, 6)
    counts = np.bincount(numbers, minlength=6)
    assert len(counts) == 6
    assert np.abs(counts - 10_000).max() < 400  # 4.4 standard deviations
    floats = Draws("even").uniform((50_000,), -2.0, 3.0)
    assert floats.min() >= -2.0
    assert floats.max() < 3.0
    assert abs(floats.mean() - 0.5) < 0.03
    assert float(Draws("even").uniform((1,))[0] * 2**53).is_integer()


def test_order_is_a_permutation_and_every_place_is_reached() -> None:
    orders = np.stack([Draws("order", i).order(5) for i in range(2000)])
    assert (np.sort(orders, axis=1) == np.arange(5)).all()
    for place in range(5):
        assert np.abs(np.bincount(orders[:, place], minlength=5) - 400).max() < 90  # 5 standard deviations
