"""The tables of the papers, run again: a published figure beside ours in every cell.

    python -m benchmarks.papers                          # which tables there are, what of them is recorded
    python -m benchmarks.papers TABLE --preset cpu --record
    python -m benchmarks.papers --page                   # docs/papers.md from the recorded results

Interrupted, or stopped by `--minutes`, the same command goes on: trainings are taken up where they were,
finished cells are kept under `--out`.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmarks.papers.judge import STATUSES
from benchmarks.papers.page import DOCS, RESULTS, read, write_page
from benchmarks.papers.record import Record, record
from benchmarks.papers.table import Preset, Table
from benchmarks.papers.tables import TABLES, find
from benchmarks.papers.work import Work
from regrow.cli.command import table as columns
from regrow.errors import RegrowError
from regrow.files import atomic_write

UNFINISHED = 75  # exit status of a run that --minutes stopped: the same command goes on


def run(table: Table, name: str, work: Work, only: Sequence[str] = (), *, kept: bool = False) -> Record:
    """Measure what is not measured yet, or with `kept` nothing; the record is written after every cell."""
    if name not in table.presets:
        raise RegrowError(
            f"{table.name}: cannot be run with preset {name!r}, expected one of {', '.join(table.presets)}; "
            "choose another"
        )
    preset = table.presets[name]
    every = table.jobs(preset)
    jobs = [j for j in every if not only or any(j.key.startswith(o) for o in only)]
    if not jobs:
        raise RegrowError(f"{table.name}: no cell begins with {', '.join(only)}; see its file for the keys")
    known = {(j.key, j.seed): work.kept(table.name, preset, j) for j in every}
    done = {place: cell for place, cell in known.items() if cell is not None}
    made = record(table, name, preset, done, work.times())
    for number, job in enumerate([] if kept else jobs, 1):
        sys.stderr.write(f"[{number}/{len(jobs)}] {table.name} {job.key}, seed {job.seed}\n")
        done[job.key, job.seed] = work.cell(table.name, preset, job)
        made = record(table, name, preset, done, work.times())
        atomic_write(work.folder / f"{table.name}.json", _text(made))
    return made


def told(made: Record) -> str:
    """The record for a terminal."""
    percent = made["metric"] == "accuracy"
    scale, form = (100, "{:.2f}") if percent else (1, "{:.4f}")
    rows = [["cell", "published", "ours", "95 %", "status"]]
    for key, cell in made["cells"].items():
        printed = "" if cell["published"] is None else form.format(scale * cell["published"])
        if "mean" in cell:
            ends = (form.format(scale * v) for v in (cell["mean"], (cell["high"] - cell["low"]) / 2))
            rows.append([key, printed, *ends, cell["status"]])
        else:
            rows.append([key, printed, "", "", cell["status"]])
    claims = [f"{c['verdict']:8} {c['says']}" for c in made["claims"]]
    return "\n".join([columns(rows, right=(1, 2, 3)), *claims])


def listed(tables: Sequence[Table]) -> str:
    """What there is, and how much of it is recorded."""
    rows = [["table", "", *STATUSES]]
    for table in tables:
        made = read(table)
        states = [c["status"] for c in made["cells"].values()] if made else ["not run"] * len(table.cells)
        rows.append([table.name, table.title, *(str(states.count(s)) for s in STATUSES)])
    return columns(rows, right=range(2, 6))


@contextmanager
def _within(minutes: float | None) -> Iterator[None]:
    """Ctrl-C after so long: what trains then saves itself."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if minutes is not None:
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
    yield
    if minutes is not None:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _text(made: Record) -> bytes:
    return (json.dumps(made, indent=1) + "\n").encode()


def _presets(tables: Sequence[Table]) -> list[str]:
    found: dict[str, Preset] = {}
    for table in tables:
        found.update(table.presets)
    return sorted(found)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.papers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", nargs="?", help="which table; without one they are listed")
    parser.add_argument(
        "--preset", choices=_presets(TABLES), default="cpu", help="how long: cpu for two cores, gpu in full"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/papers"), help="where runs and cells are kept")
    parser.add_argument("--only", nargs="+", default=[], metavar="KEY", help="cells that begin so")
    parser.add_argument("--kept", action="store_true", help="measure nothing, take the cells that are kept")
    parser.add_argument("--workers", type=int, metavar="N", help="threads; all usable cores by default")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help=f"stop after so long, with exit status {UNFINISHED}"
    )
    parser.add_argument("--record", action="store_true", help="keep the result in benchmarks/results/papers")
    parser.add_argument("--page", action="store_true", help="write docs/papers.md from what is recorded")
    args = parser.parse_args(argv)
    try:
        if args.table:
            table = find(args.table)
            with _within(args.minutes):
                made = run(table, args.preset, Work(args.out, args.workers), args.only, kept=args.kept)
            if args.record:
                RESULTS.mkdir(parents=True, exist_ok=True)
                atomic_write(RESULTS / f"{table.name}.json", _text(made))
            sys.stdout.write(told(made) + "\n")
        elif not args.page:
            sys.stdout.write(listed(TABLES) + "\n")
        if args.page:
            write_page(DOCS)
    except RegrowError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same command goes on\n")
        return UNFINISHED
    return 0


if __name__ == "__main__":
    sys.exit(main())
