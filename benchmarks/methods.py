"""The methods side by side: each recipe trained for equally many iterations, then the same unseen episodes.

    python -m benchmarks.methods 'sine-*' --iterations 2000 > benchmarks/results/methods_sine.json
    python -m benchmarks.methods 'glyphs-*' > benchmarks/results/methods_glyphs.json

Without `--iterations` every recipe runs as it is written. Finished runs under `--out` are reused. Neighbours
in the ranking are compared by a paired bootstrap, so that the record says which order is real.
"""

import argparse
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from regrow import checkpoint
from regrow.bench.machine import describe
from regrow.episodes import open_source
from regrow.evaluate import Evaluation
from regrow_trainer.compare import difference
from regrow_trainer.evaluate import Sizes, evaluate

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


def trained(name: str, out: Path, settings: list[str]) -> Path:
    """The recipe's best checkpoint, trained where it is not there yet."""
    folder = out / name
    if not (folder / "best.safetensors").exists():
        words = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "-m", "regrow", "train", str(RECIPES / f"{name}.toml"), "-o", str(folder)]
        subprocess.run([*command, *words], check=True, stdout=sys.stderr)
    return folder / "best.safetensors"


def measured(path: Path, episodes: int, queries: int) -> tuple[Evaluation, list[float]]:
    """The scores after the last step, and the mean after every step."""
    saved = checkpoint.read(path)
    data = saved.recipe["data"]
    source = open_source(data["test"], **data.get("args", {}))
    curve = evaluate(saved, source, Sizes(data["n_way"], data["k_shot"], queries, episodes, 0)).curve
    return curve[-1], [point.mean for point in curve]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", help="pattern of recipe names of one kind of data, e.g. 'sine-*'")
    parser.add_argument("--iterations", type=int, help="for every recipe, instead of its own")
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    args = parser.parse_args()
    names = sorted(path.stem for path in RECIPES.glob(f"{args.recipes}.toml"))
    settings = [] if args.iterations is None else [f"train.iterations={args.iterations}"]
    scores: dict[str, Evaluation] = {}
    results: dict[str, Any] = {}
    for name in names:
        scores[name], curve = measured(trained(name, args.out, settings), args.episodes, args.queries)
        results[name] = {**scores[name].to_json(), "curve": curve}
    better = -1 if scores[names[0]].metric == "mse" else 1
    ranking = sorted(names, key=lambda name: -better * scores[name].mean)
    gaps = {f"{b} minus {a}": difference(scores[a], scores[b]).to_json() for a, b in pairwise(ranking)}
    record = {
        "setting": {"iterations": args.iterations, "episodes": args.episodes, "queries": args.queries},
        "results": results,
        "ranking": ranking,
        "neighbours": gaps,
        "machine": describe(),
    }
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
