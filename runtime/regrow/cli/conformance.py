"""regrow conformance: write the pack that any runtime can check itself against; check our engines with it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from regrow.cli.command import Command, add_force, emit, importable, refuse_overwrite, table
from regrow.errors import RegrowError, UnsupportedError

if TYPE_CHECKING:
    from regrow.conformance.run import Verdict

_FAILED = 2
_EXPORTER = "regrow_exporter.conformance"
# What that module cannot run without; the train extra brings all of it.
_NEEDED = ("torch", "onnx", "onnxruntime")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="write the pack (needs the train extra; takes minutes)")
    export.add_argument("folder", metavar="DIR", help="where the pack goes")
    add_force(export)
    run = actions.add_parser("run", help="check engines against a pack")
    run.add_argument("folder", metavar="DIR", help="a pack")
    run.add_argument("--engine", action="append", metavar="NAME",
                     help="native, onnx, graphs (the plain ONNX files on onnxruntime) or reference (fp64); "
                     "repeatable (default: all that can run here)")  # fmt: skip
    for action in (export, run):
        action.add_argument("--case", default="*", metavar="GLOB", help="these cases only, such as 'conv4-*'")
        # SUPPRESS: the front may define --json too, and a default here would overwrite what it read.
        action.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    return _export(args) if args.action == "export" else _check(args)


def _export(args: argparse.Namespace) -> int:
    """The exporter does it, in a process of its own: the runtime never imports it."""
    from regrow.conformance import pack

    refuse_overwrite([args.folder], args.force)
    if lacking := [module for module in _NEEDED if not importable(module)]:
        raise UnsupportedError(
            f"conformance export: needs {lacking[0]}, which is not installed; pip install 'regrow[train]'"
        )
    command = [sys.executable, "-m", _EXPORTER, args.folder, "--case", args.case]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise RegrowError(
            f"conformance export: exit code {code}, expected 0; mend what it said above and export again"
        )
    made = pack.read(Path(args.folder))
    facts = {"pack": args.folder, "versions": made.versions, "cases": [case.name for case in made.cases]}
    emit(args, facts, f"{args.folder}: {len(made.cases)} cases")
    return 0


def _check(args: argparse.Namespace) -> int:
    from regrow.conformance import pack, subjects
    from regrow.conformance.run import verdicts

    chosen = {name: subjects.subject(name) for name in args.engine or subjects.present()}
    found = pack.read(Path(args.folder))
    made = list(verdicts(found.matching(args.case), chosen))
    failed = sum(not verdict.passed for verdict in made)
    facts = {
        "pack": args.folder,
        "versions": found.versions,
        "passed": len(made) - failed,
        "failed": failed,
        "results": [verdict.to_json() for verdict in made],
    }
    emit(args, facts, _text(made, failed))
    return _FAILED if failed else 0


def _text(made: list[Verdict], failed: int) -> str:
    rows = [("case", "engine", "", "worst output", "error", "allowed")]
    notes = []
    for verdict in made:
        worst, says = verdict.worst, "passed" if verdict.passed else "FAILED"
        figures = (worst.output, f"{worst.error:.1e}", f"{worst.tolerance:.1e}") if worst else ("-",) * 3
        rows.append((verdict.case, verdict.subject, says, *figures))
        notes += [
            f"{verdict.case}, {verdict.subject}: {f.output}: {f.problem}"
            for f in verdict.findings
            if f.problem
        ]
        notes += [f"{verdict.case}, {verdict.subject}: {verdict.refused}"] if verdict.refused else []
    return "\n".join([table(rows, right=(4, 5)), *notes, f"{len(made) - failed} passed, {failed} failed"])


COMMAND = Command(
    "conformance",
    "write a pack of cases that any runtime can check itself against, or check ours",
    configure,
    run,
)
