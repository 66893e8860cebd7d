"""Progress with a clock that the test turns."""

import io

import pytest

from regrow.progress import Progress, track


class Terminal(io.StringIO):
    def __init__(self, live: bool) -> None:
        super().__init__()
        self.live = live

    def isatty(self) -> bool:
        return self.live


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def work(live: bool, seconds: float, total: int | None = 20) -> str:
    """What a job of 20 equal parts shows."""
    stream, clock = Terminal(live), Clock()
    with Progress(total, "train", stream=stream, clock=clock) as progress:
        for i in range(1, 21):
            clock.now += seconds / 20
            progress.update(i, loss=1 / i)
    return stream.getvalue()


@pytest.mark.parametrize("live", [True, False])
def test_a_short_job_is_silent(live: bool) -> None:
    assert work(live, 1.5) == ""


@pytest.mark.parametrize("live", [True, False])
def test_nothing_to_do_is_no_progress(live: bool) -> None:
    stream, clock = Terminal(live), Clock()
    with Progress(0, "prune", stream=stream, clock=clock):
        clock.now += 19
    assert stream.getvalue() == ""


def test_a_terminal_shows_one_line_with_the_time_left() -> None:
    shown = work(True, 10).split("\r")
    assert shown[1].startswith("train  [#")
    assert "10 s left" in shown[1]  # seen after half a second, not after two
    assert "loss 1" in shown[1]
    assert shown[-1].rstrip(" ") == f"train  [{'#' * 24}] 100%  20/20  loss 0.05  10 s taken\n"
    assert all("\n" not in line for line in shown[:-1])


def test_a_shorter_line_covers_a_longer_one() -> None:
    stream, clock = Terminal(True), Clock()
    with Progress(3, "job", stream=stream, clock=clock) as progress:
        for done, figure in ((1, 0.12345), (2, 1.0)):
            clock.now += 60
            progress.update(done, figure=figure)
    first, second = stream.getvalue().split("\r")[1:3]
    assert len(second) >= len(first)


def test_elsewhere_a_plain_line_every_ten_seconds() -> None:
    lines = work(False, 40).splitlines()
    assert lines[0] == "train   25%  5/20  loss 0.2  30 s left"
    assert lines[-1] == "train  100%  20/20  loss 0.05  40 s taken"
    assert len(lines) == 5


def test_without_a_total_there_is_no_time_left() -> None:
    shown = work(True, 10, total=None)
    assert "left" not in shown
    assert "%" not in shown
    assert "20  loss 0.05  10 s taken" in shown


def test_resumed_work_says_nothing_about_speed() -> None:
    stream, clock = Terminal(False), Clock()
    with Progress(100, "train", stream=stream, clock=clock) as progress:
        progress.start_at(80)
        clock.now = 10
        progress.update(90)
    assert "10 s left" in stream.getvalue().splitlines()[0]


def test_long_times_are_minutes_and_hours() -> None:
    assert "8:00 min left" in work(False, 600)
    assert "1:5" in work(False, 7200)


def test_an_interrupted_job_ends_its_line() -> None:
    stream, clock = Terminal(True), Clock()

    def job() -> None:
        with Progress(10, "train", stream=stream, clock=clock) as progress:
            clock.now = 5
            progress.update(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job()
    assert stream.getvalue().endswith("\n")


def test_track_passes_everything_on() -> None:
    assert list(track(range(5), "count")) == [0, 1, 2, 3, 4]
