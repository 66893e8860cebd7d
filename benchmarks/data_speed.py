"""Episodes per second of every dataset that is here: 5 ways, 1 shot, 15 queries, on one thread.

    python -m benchmarks.data_speed            # measures, keeps the figures, writes the table of docs/data.md
    python -m benchmarks.data_speed --page     # only writes the table

Drawing alone: files are prepared before, and a first round warms the page cache. Processor time, so that
other work on the machine counts less.
"""

import argparse
import json
import time
from itertools import count
from pathlib import Path
from typing import Any

from regrow.bench.machine import describe
from regrow.datasets.catalog import DATASETS
from regrow.datasets.prepare import located
from regrow.episodes import open_source, sample
from regrow.errors import SampleError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "data.md"
RECORD = ROOT / "benchmarks" / "results" / "data_speed.json"
BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"
WAYS, SHOTS = 5, 1
QUERIES = (15, 5)  # the second where a class of a person has too few for the first
SECONDS, WARM = 2.0, 50


def measure(name: str) -> dict[str, Any]:
    """What one dataset's training part gives."""
    source = open_source(f"{name}:train")
    for queries in QUERIES:
        try:
            for index in range(WARM):
                episode = sample(source, WAYS, SHOTS, queries, 0, index)
            break
        except SampleError:
            if queries == QUERIES[-1]:
                raise
    began = time.process_time()
    for index in count(WARM):
        sample(source, WAYS, SHOTS, queries, 0, index)
        if (spent := time.process_time() - began) > SECONDS:
            break
    rate = (index - WARM + 1) / spent
    size = episode.support_x.nbytes + episode.query_x.nbytes
    return {
        "source": f"{name}:train",
        "sample_shape": list(source.sample_shape),
        "queries": queries,
        "episodes_per_second": round(rate),
        "megabytes_per_second": round(rate * size / 1e6),
    }


def replaced(text: str, record: dict[str, Any]) -> str:
    """The page with its table written anew."""
    rows = [
        f"| `{row['source']}` | {' x '.join(map(str, row['sample_shape']))} | {row['queries']} | "
        f"{row['episodes_per_second']:,} | {row['megabytes_per_second']:,} |"
        for row in record["rows"]
    ]
    head = "| source | sample | queries per class | episodes per second | MB per second |\n"
    head += "|---|---|---|---|---|\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{head}" + "\n".join(rows) + f"\n{END}{after}"


def main() -> None:
    """Measure what is here, unless only the page is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", action="store_true", help="only write the table from the kept figures")
    if not parser.parse_args().page:
        rows = [measure(name) for name in DATASETS if located(name)]
        record = {"machine": describe(), "ways": WAYS, "shots": SHOTS, "rows": rows}
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    kept = json.loads(RECORD.read_text(encoding="utf-8"))
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), kept), encoding="utf-8")


if __name__ == "__main__":
    main()
