"""What pruning costs in accuracy: dense and 85 % pruned after equal training, exported, measured torch-free.

python -m benchmarks.accuracy --out runs/accuracy > benchmarks/results/glyphs_accuracy.json

Takes about a quarter of an hour on two idle cores; finished steps under `--out` are reused. Both models share
`base` meta-iterations and then get the same number more. All figures are on the same 600 unseen episodes,
five classes, one sample each, queries under the statistics of the support set.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import regrow
from regrow.bench.machine import describe
from regrow.episodes import open_source
from regrow.evaluate import Evaluation, Sizes, evaluate, nearest_pixel
from regrow.progress import Progress

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "glyphs-5w1s-maml.toml"
TRAIN = ("train.lr=5e-3", "train.tasks=4", "backbone.args.width=48", "validation.every=500")
BASE, MORE, SPARSITY = 1500, 3000, 0.85
SIZES: Sizes = {"n_way": 5, "k_shot": 1, "queries": 15, "episodes": 600, "seed": 0}


def commands(out: Path) -> list[tuple[Path, list[str]]]:
    """Each step's result and the `regrow` command line that makes it."""
    settings = [word for setting in TRAIN for word in ("--set", setting)]
    base = str(out / "base" / "best.safetensors")
    train = ["train", str(RECIPE), *settings]
    prune = ["prune", base, "--sparsity", str(SPARSITY), "--pruner", "fisher", "--scope", "global"]
    made = [
        ("base", [*train, "--set", f"train.iterations={BASE}"]),
        ("dense", [*train, "--set", f"train.iterations={MORE}", "--start", base]),
        ("pruned", [*prune, "--retrain", str(MORE)]),
    ]
    steps = [(out / n / "best.safetensors", [*words, "-o", str(out / n)]) for n, words in made]
    for name in ("dense", "pruned"):
        bundle = out / f"{name}.regrow"
        steps.append((bundle, ["export", str(out / name / "best.safetensors"), "-o", str(bundle)]))
    return steps


def run(out: Path) -> None:
    """Whatever is not there yet."""
    out.mkdir(parents=True, exist_ok=True)
    for result, words in commands(out):
        if not result.exists():
            resume = ["--resume"] if (result.parent / "last.safetensors").exists() else []
            command = [sys.executable, "-m", "regrow", *words, *resume]
            subprocess.run(command, check=True, stdout=sys.stderr)


def frozen_features(checkpoint: Path) -> dict[str, Any]:
    """Nearest class mean on the un-adapted features, which takes torch and so a process of its own."""
    words = ["evaluate", str(checkpoint), "--json", "--episodes", str(SIZES["episodes"])]
    command = [sys.executable, "-m", "regrow", *words, "--queries", str(SIZES["queries"])]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    controls: dict[str, dict[str, Any]] = json.loads(text)["controls"]
    return controls["nearest class mean"]


def measure(out: Path) -> dict[str, Any]:
    """Both bundles and the controls on the same episodes."""
    source = open_source("glyphs:test")
    made: dict[str, Any] = {}
    scores: dict[str, Evaluation] = {}
    for name in ("dense", "pruned"):
        model = regrow.open(out / f"{name}.regrow")
        for label, options in (("adapted", {}), ("shuffled labels", {"shuffle_labels": True})):
            with Progress(SIZES["episodes"], f"{name}, {label}") as progress:
                scores[f"{name} {label}"] = evaluate(model, source, progress=progress, **options, **SIZES)
        made[name] = {
            "adapted": scores[f"{name} adapted"].to_json(),
            "shuffled labels": scores[f"{name} shuffled labels"].to_json(),
            "nearest class mean": frozen_features(out / name / "best.safetensors"),
            "bytes": (out / f"{name}.regrow").stat().st_size,
            "meta_iterations": model.manifest.provenance.get("meta_iterations"),
        }
    with Progress(SIZES["episodes"], "nearest pixel") as progress:
        made["nearest pixel"] = nearest_pixel(source, progress=progress, **SIZES).to_json()
    drop = scores["dense adapted"].scores - scores["pruned adapted"].scores
    half = 1.96 * float(np.std(drop, ddof=1)) / len(drop) ** 0.5
    made["dense minus pruned"] = {"mean": float(drop.mean()), "half_width": half}
    if "torch" in sys.modules:
        raise SystemExit("torch was imported by the measuring process, expected none")
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"), help="where runs and bundles go")
    args = parser.parse_args()
    run(args.out)
    shown = [["regrow", *words] for _, words in commands(Path("runs/accuracy"))]
    steps = [" ".join(words).replace(str(RECIPE), f"recipes/{RECIPE.name}") for words in shown]
    record = {"sizes": SIZES, "commands": steps, "results": measure(args.out), "machine": describe()}
    sys.stdout.write(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
