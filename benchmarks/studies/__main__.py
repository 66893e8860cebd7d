"""A study from data to device, resumable: train, choose on validation users, test the others once.

python -m benchmarks.studies muscle          # up to the choice; commit it, then the same command goes on
python -m benchmarks.studies muscle --quick  # all of it in a minute, on validation users: a try
python -m benchmarks.studies --page          # docs/studies.md and its pictures from the records
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.studies import STUDIES, page
from benchmarks.studies.run import run
from benchmarks.studies.study import RESULTS, ROOT, load
from regrow.files import atomic_write


def main() -> int:
    """Run a study, or write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", nargs="*", choices=[*STUDIES, []], metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--quick", action="store_true", help="few iterations and episodes, prints the record")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "runs" / "studies", help="where runs and bundles go"
    )
    parser.add_argument("--page", action="store_true", help="only write docs/studies.md")
    parser.add_argument("--check", action="store_true", help="with --page: fail where the page is stale")
    args = parser.parse_args()
    if args.page:
        return page.write(RESULTS, ROOT / "docs", check=args.check)
    if not args.study:
        parser.error(f"name a study: {', '.join(STUDIES)}; or --page")
    for name in args.study:
        record = run(load(name), args.out, quick=args.quick)
        text = json.dumps(record, indent=1) + "\n"
        if args.quick:
            sys.stdout.write(text)
        else:
            RESULTS.mkdir(parents=True, exist_ok=True)
            atomic_write(RESULTS / f"{name}.json", text.encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
