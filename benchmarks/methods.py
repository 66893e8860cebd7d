"""The methods side by side: each recipe trained for equally many iterations, then the same unseen episodes.

    python -m benchmarks.methods > benchmarks/results/methods.json
    python -m regrow_trainer.methods > docs/methods.md

Some ten minutes of one core. Interrupted, the same command goes on: finished runs under `--out` are reused,
others are resumed. `EXPECTED` holds what the papers lead one to expect; a paired bootstrap says what of it is
so here.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from regrow import checkpoint
from regrow.bench.machine import describe
from regrow.checkpoint import Checkpoint
from regrow.episodes import open_source
from regrow.evaluate import Evaluation
from regrow_trainer.compare import difference
from regrow_trainer.evaluate import Sizes, evaluate
from regrow_trainer.multi import evaluate_routers

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
# kind of data -> recipes, and iterations of each
KINDS: dict[str, tuple[str, int]] = {"sine": ("sine-*", 1500), "glyphs": ("glyphs-5w1s-*", 400)}
MULTI = "sine-multi-maml"
# (better, worse) by what their papers report, where a benchmark of minutes could show it.
EXPECTED: dict[str, tuple[tuple[str, str], ...]] = {
    "sine": (("meta-sgd", "maml"), ("pamela", "meta-sgd"), ("cavia", "maml"), ("maml", "reptile")),
    "glyphs": (
        ("maml", "fomaml"),
        ("mamlpp", "maml"),
        ("meta-sgd", "maml"),
        ("pamela", "maml"),
        ("anil", "foanil"),
        ("maml", "anil"),
    ),
}


def trained(name: str, folder: Path, settings: Mapping[str, Any]) -> Checkpoint:
    """The recipe's best checkpoint: reused where the run is finished, resumed where it is not."""
    # A meta-batch at once, on one core: runs that share a machine then take what they take alone.
    settings = {**settings, "train.chunk": 32}
    words = ["--workers", "1"]
    words += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    last = folder / "last.safetensors"
    if not last.exists() or checkpoint.read(last).iteration < settings["train.iterations"]:
        begun = ["--resume"] if last.exists() else []
        command = [sys.executable, "-m", "regrow", "train", str(RECIPES / f"{name}.toml"), "-o", str(folder)]
        subprocess.run([*command, *words, *begun], check=True, stdout=sys.stderr)
    return checkpoint.read(folder / "best.safetensors")


def measured(saved: Checkpoint, options: argparse.Namespace) -> tuple[Evaluation, list[float]]:
    """The scores after the last step, and the mean after every step."""
    data = saved.recipe["data"]
    source = open_source(data["test"], **data.get("args", {}))
    sizes = Sizes(data["n_way"], data["k_shot"], options.queries, options.episodes, 0)
    curve = evaluate(saved, source, sizes).curve
    return curve[-1], [point.mean for point in curve]


def compared(kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """All recipes of one kind of data, and which of the expected orders hold."""
    pattern, iterations = KINDS[kind]
    iterations = options.iterations or iterations
    scores: dict[str, Evaluation] = {}
    results: dict[str, Any] = {}
    for path in sorted(RECIPES.glob(f"{pattern}.toml")):
        if path.stem == MULTI:
            continue
        method = path.stem.removeprefix(pattern.removesuffix("*"))
        saved = trained(path.stem, options.out / path.stem, {"train.iterations": iterations})
        scores[method], curve = measured(saved, options)
        results[method] = {**scores[method].to_json(), "curve": curve}
    better = -1 if next(iter(scores.values())).metric == "mse" else 1
    orders = []
    for first, second in EXPECTED[kind]:
        gap = difference(scores[second], scores[first])
        holds = gap.mean * better > 0
        orders.append({"better": first, "worse": second, "holds": holds, **gap.to_json()})
    ranking = sorted(scores, key=lambda name: -better * scores[name].mean)
    return {"iterations": iterations, "results": results, "ranking": ranking, "orders": orders}


def multi(options: argparse.Namespace) -> dict[str, Any]:
    """A learner per distribution against one for all, trained for as many episodes as both together."""
    iterations = options.iterations or KINDS["sine"][1]
    parts = [
        trained(MULTI, options.out / f"{MULTI}-{d}", {"train.iterations": iterations, "data.args.only": d})
        for d in (0, 1)
    ]
    single = trained(MULTI, options.out / f"{MULTI}-single", {"train.iterations": 2 * iterations})
    data = [saved.recipe["data"] for saved in parts]
    sources = [open_source(d["test"], **d["args"]) for d in data]
    sizes = Sizes(data[0]["n_way"], data[0]["k_shot"], options.queries, options.episodes // 2, 0)
    made = evaluate_routers(parts, sources, sizes, single=single)
    gap = difference(made.by_router["one for all"], made.by_router["support loss"])
    return {"iterations": iterations, **made.to_json(), "support loss minus one for all": gap.to_json()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, help="for every recipe, instead of those of its kind")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    options = parser.parse_args()
    record = {
        "setting": {"episodes": options.episodes, "queries": options.queries},
        **{kind: compared(kind, options) for kind in KINDS},
        "multi": multi(options),
        "machine": describe(),
    }
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
