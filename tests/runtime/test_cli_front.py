"""The front of the command line: how subcommands are found, and how each expected failure ends."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import regrow
from regrow import cli
from regrow.cli import main
from regrow.cli.command import Command, byte_count, human_bytes, table

Run = Callable[..., tuple[int, str, str]]


def command(**how: Any) -> Command:
    return Command("probe", "a command of the tests", how.get("configure", lambda parser: None), **{
        "run": lambda args: 0, **{k: v for k, v in how.items() if k != "configure"}
    })  # fmt: skip


class Point:
    """An entry point that loads what the test wants."""

    name, value = "probe", "tests:probe"

    def __init__(self, load: Callable[[], Any]) -> None:
        self.load = load


def install(monkeypatch: pytest.MonkeyPatch, load: Callable[[], Any]) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [Point(load)])


def raising(error: BaseException) -> Callable[[Any], int]:
    def run(_: Any) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "regrow: interrupted"),
        (regrow.AdaptError("lost\nits way"), 2, "regrow: error: lost its way"),
        (ModuleNotFoundError("No module named 'torch'", name="torch.nn"), 2, "pip install 'regrow[train]'"),
        (OSError(28, "No space left on device", "a.delta"), 2, "a.delta: No space left on device; check"),
        (MemoryError(), 2, "out of memory"),
    ],
)
def test_every_expected_end_has_its_exit_code(
    error: BaseException, code: int, said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, lambda: command(run=raising(error)))
    found, _, err = run("probe")
    assert found == code
    assert said in err


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda: command(run=raising(ZeroDivisionError())))
    with pytest.raises(ZeroDivisionError):
        main(["probe"])


def test_a_missing_extra_is_named_before_the_command_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    install(
        monkeypatch, lambda: command(needs=(("no_such_module", "train"),), run=raising(ZeroDivisionError()))
    )
    code, _, err = run("probe")
    assert code == 2
    assert "probe: needs no_such_module, which is not installed; pip install 'regrow[train]'" in err


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'gone'", name="gone"), AttributeError("x")]
)
def test_a_broken_command_leaves_the_others_alone(
    error: Exception, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> Any:
        raise error

    install(monkeypatch, load)
    code, out, _ = run("--help")
    assert code == 0
    assert "probe" in out
    assert "not available" in out
    code, _, err = run("probe", "--any", "thing")
    assert code == 2
    assert "probe: cannot be loaded" in err


def test_a_command_may_define_json_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def keep(args: Any) -> int:
        seen.append(args.json)
        return 0

    own = command(configure=lambda p: p.add_argument("--json", action="store_true"), run=keep)
    install(monkeypatch, lambda: own)
    assert run("probe", "--json")[0] == 0
    install(monkeypatch, lambda: command(run=keep))
    assert run("probe", "--json")[0] == 0
    assert seen == [True, True]


def test_warnings_are_lines_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(_: Any) -> int:
        warnings.simplefilter("always")
        warnings.warn("mind the step", stacklevel=1)
        return 0

    install(monkeypatch, lambda: command(run=warn))
    assert run("probe") == (0, "", "regrow: warning: mind the step\n")


def test_version(run: Run) -> None:
    assert run("--version")[1] == f"regrow {regrow.__version__}\n"


@pytest.mark.parametrize(
    ("text", "count"), [("65536", 65536), ("64KiB", 65536), ("1.5 MB", 1_500_000), ("2gib", 2**31), ("7B", 7)]
)
def test_byte_counts(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "KiB", "12 parsecs", "1.2.3MB"])
def test_what_is_no_byte_count(text: str) -> None:
    with pytest.raises(ValueError, match=r"could not|12 parsecs|^$|KiB"):
        byte_count(text)


def test_tables_line_up() -> None:
    assert table([("a", "1"), ("long", "22")], right=[1]) == "a      1\nlong  22"
    assert human_bytes(999) == "999 B"
    assert human_bytes(1_450_000) == "1.4 MB"
