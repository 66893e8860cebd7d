"""Write the README's tables and docs/benchmarks.md from recorded runs. No figure in them is typed by hand.

python -m benchmarks.readme --record demo/results.json   # keep a run, and measure what a demo does not
python -m benchmarks.readme                              # write the tables and the page
python -m benchmarks.readme --check                      # fail where they differ from the records
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.studies import page as studies
from benchmarks.studies.record import Record as Study
from benchmarks.studies.record import recorded
from benchmarks.studies.study import RESULTS as STUDIES
from benchmarks.suite_page import facts, markdown
from benchmarks.suite_table import summary
from regrow.demo.page import device, kilobytes, percent, pick, short, sparsity
from regrow.demo.results import Peer, Results

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RECORD = ROOT / "benchmarks" / "results" / "demo.json"
MEASURED, PEERS, TOLD = "measured", "peers", "studies"
SUITE = ROOT / "benchmarks" / "results" / "suite.json"
THREADS = SUITE.with_name("suite_threads.json")  # of --threads all
PAGE = ROOT / "docs" / "benchmarks.md"
# Studies worth a place here, the first two that have a record; the page has all.
STORIES = ("drift", "commands", "muscle")
# Of the suite, what fits a first screen; the page has all.
CASES = ("W1-dense-all", "W1-90-kept", "W2-dense-all", "W2-90-kept", "W4s5-dense-all", "W5s5-dense-all")


class Install(TypedDict):
    """What installing and importing the runtime costs."""

    wheel_bytes: int
    import_ms: float


class Record(TypedDict):
    """A kept run: the demo's results and the cost of the install."""

    results: Results
    install: Install


def table(record: Record) -> str:
    """The measured facts as a Markdown table, with the machine, the date and the command."""
    results, install = record["results"], record["install"]
    rows = [_accuracy(results, shots) for shots in sorted({r["shots"] for r in results["accuracy"]})]
    sizes = results["sizes"]
    ratio = sizes["onnx_dense"] / sizes["bundle_pruned"]
    rows.append(
        f"| bundle | {kilobytes(sizes['bundle_pruned'])} | dense model as fp32 ONNX: "
        f"{kilobytes(sizes['onnx_dense'])}, {ratio:.1f} times as much |"
    )
    rows += _against(results)
    rows.append(
        f"| wheel, import time | {kilobytes(install['wheel_bytes'])}, {install['import_ms']:.0f} ms | |"
    )
    machine = ", ".join(
        v if k in ("processor", "system") else f"{k} {v}" for k, v in results["machine"].items()
    )
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    return "\n".join(
        [
            f"| {sparsity(results):.0%} pruned, {results['n_way']} unseen classes | measured | beside |",
            "|---|---|---|",
            *rows,
            "",
            f"`make demo` on {results['date']}, commit {results['commit'] or 'none'}: {machine}; {versions}.",
        ]
    )


def _accuracy(results: Results, shots: int) -> str:
    pruned, dense = pick(results, "pruned", shots), pick(results, "dense", shots)
    examples = "1 example" if shots == 1 else f"{shots} examples"
    return (
        f"| accuracy, {examples} per class | {percent(pruned['after'])} | before adapting: "
        f"{percent(pruned['before'])}; dense: {percent(dense['after'])} |"
    )


def _against(results: Results) -> list[str]:
    ours, others = device(results), [p for p in results["peers"] if "torch" in p["name"]]
    facts: list[tuple[str, Callable[[Peer], str]]] = [
        (f"one adaptation, {results['support']} examples", lambda p: f"{short(p['adapt_ms']['median'])} ms"),
        ("start to first answer", lambda p: f"{short(p['cold_ms']['median'])} ms"),
        ("peak memory, whole process", lambda p: f"{short(p['peak_bytes']['median'] / 1e6)} MB"),
    ]
    return [f"| {what} | {figure(ours)} | {_beside(others, figure)} |" for what, figure in facts]


def _beside(peers: list[Peer], figure: Callable[[Peer], str]) -> str:
    return ", ".join(f"{p['name']}: {figure(p)}" for p in peers)


def insert(text: str, name: str, facts: str) -> str:
    """The README with a table between its markers."""
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise SystemExit(f"README.md: found no {first} ... {last}, expected both; put them back")
    return f"{before}{first}\n{facts}\n{last}{after}"


def peers(made: dict[str, Any]) -> str:
    """The suite at a glance: a line per peer, a column per case, times as long as the C core takes."""
    shown = [case for case in made["cases"] if case["name"] in CASES]
    head, lines = summary({**made, "cases": shown})
    titles = [line[0] for line in lines]
    every = [[name, *(line[i] for line in lines)] for i, name in enumerate(head) if i]
    table = [row for row in every if set(row[1:]) - {"refused", "not installed"}]
    rows = [["", *titles], ["---", *["--:"] * len(titles)], *table]
    told = facts(made)
    return "\n".join(
        [
            *("| " + " | ".join(row) + " |" for row in rows),
            "",
            f"{told[0]}. {told[1]}; {told[2]}.",
        ]
    )


def stories(records: Mapping[str, Study]) -> str:
    """Two studies, each told as a person's problem and how far adapting solves it."""
    chosen = [records[name] for name in STORIES if name in records][:2]
    lines = [f"- **{r['study']['title']}.** {r['study']['question']} {studies.verdict(r)}" for r in chosen]
    return "\n".join(["What it is for ([all studies](docs/studies.md)):", "", *lines])


def measure_install() -> Install:
    """Build the wheel and import the runtime in fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = Path(folder).glob("*.whl")
        size = wheel.stat().st_size
    command = (
        "import time; t = time.perf_counter(); import regrow; regrow.open; print(time.perf_counter() - t)"
    )
    times = [
        float(
            subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout
        )
        for _ in range(7)
    ]
    return {"wheel_bytes": size, "import_ms": 1000 * statistics.median(times)}


def record(source: Path) -> None:
    """Keep a demo's results, without its pictures, beside the cost of the install."""
    results: Results = json.loads(source.read_text(encoding="utf-8"))
    results["episode"] = {"shots": results["episode"]["shots"], "support": [], "queries": []}
    kept: Record = {"results": results, "install": measure_install()}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    """Record, write or check; the exit code is 1 where something is stale."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readme", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--record", metavar="JSON", type=Path, help="keep this run first")
    parser.add_argument("--check", action="store_true", help="change nothing")
    args = parser.parse_args()
    if args.record:
        record(args.record)
    if not RECORD.exists():
        raise SystemExit(
            f"{RECORD}: not there, expected a kept run; make demo, then add --record demo/results.json"
        )
    kept: Record = json.loads(RECORD.read_text(encoding="utf-8"))
    wanted = {README: insert(README.read_text(encoding="utf-8"), MEASURED, table(kept))}
    if SUITE.exists():
        suite = json.loads(SUITE.read_text(encoding="utf-8"))
        threads = json.loads(THREADS.read_text(encoding="utf-8")) if THREADS.exists() else None
        wanted[README] = insert(wanted[README], PEERS, peers(suite))
        wanted[PAGE] = markdown(suite, threads)
    records = recorded(STUDIES)
    if any(name in records for name in STORIES):
        wanted[README] = insert(wanted[README], TOLD, stories(records))
    for path, text in wanted.items():
        if args.check and path.read_text(encoding="utf-8") != text:
            print(f"{path.name}: differs from benchmarks/results; run `make readme`", file=sys.stderr)
            return 1
        if not args.check:
            path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
