"""The demo's command lines, in order: what a person would type to get from nothing to an adapted device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from regrow.demo.steps import Step
from regrow.errors import UnsupportedError

RECIPE = "glyphs-5w1s-maml.toml"
SHOTS = (1, 5)
MODELS = ("dense", "pruned")
SPARSITY = 0.85


@dataclass(frozen=True)
class Plan:
    """How much: dense and pruned share `base` iterations of training, then each has `more` to itself."""

    base: int = 700
    more: int = 1000
    validate_every: int = 100
    episodes: int = 300
    queries: int = 5
    rounds: int = 30
    cold: int = 5


FAST = Plan(base=20, more=10, validate_every=10, episodes=20, rounds=5, cold=1)


def steps(out: Path, recipe: Path, plan: Plan) -> list[Step]:
    """Everything, in order."""
    return [*_train(out, recipe, plan), *_export(out), *_evaluate(out, plan), *_meet(out), _bench(out, plan)]


def _train(out: Path, recipe: Path, plan: Plan) -> list[Step]:
    base = str(out / "base" / "best.safetensors")
    every = ("--set", f"validation.every={plan.validate_every}")

    def run(name: str, says: str, *command: str) -> Step:
        folder = str(out / name)
        last = str(out / name / "last.safetensors")
        return Step(name, says, (*command, "-o", folder), (folder,), resumes=last)

    return [
        run("base", f"Meta-train for {plan.base} iterations",
            "train", _shown(recipe), "--set", f"train.iterations={plan.base}", *every),
        run("dense", f"Go on for {plan.more} iterations without pruning, to compare like with like",
            "train", _shown(recipe), "--start", base, "--set", f"train.iterations={plan.more}", *every),
        run("pruned", f"Prune {SPARSITY:.0%} of the weights and retrain the rest for {plan.more} iterations",
            "prune", base, "--sparsity", f"{SPARSITY}", "--pruner", "fisher", "--scope", "global",
            "--retrain", f"{plan.more}"),
    ]  # fmt: skip


def _export(out: Path) -> list[Step]:
    return [
        Step(
            f"export-{name}",
            f"Export the {name} model: differentiate, pack, verify",
            (
                *("export", str(out / name / "best.safetensors"), "-o", str(out / f"{name}.regrow")),
                *("--onnx", str(out / f"{name}-onnx")),
            ),
            (str(out / f"{name}.regrow"), str(out / f"{name}-onnx")),
        )
        for name in MODELS
    ]


def _evaluate(out: Path, plan: Plan) -> list[Step]:
    return [
        Step(
            f"evaluate-{name}-{shots}",
            f"Adapt the {name} model to {plan.episodes} unseen episodes, {shots} per class, without torch",
            (
                *("evaluate", str(out / f"{name}.regrow"), "--k-shot", f"{shots}", "--json"),
                *("--episodes", f"{plan.episodes}", "--queries", f"{plan.queries}"),
            ),
            (),
            prints=str(out / f"{name}-{shots}-shot.json"),
            torch_free=True,
        )
        for shots in SHOTS
        for name in MODELS
    ]


def _meet(out: Path) -> list[Step]:
    """One episode as a device meets it: samples in files, a delta, predictions."""
    bundle, delta = str(out / "pruned.regrow"), str(out / "learned.delta")
    support, query = str(out / "support.npz"), str(out / "query.npz")

    def free(name: str, says: str, *command: str, makes: tuple[str, ...] = ()) -> Step:
        return Step(
            name, says, (*command, "--json"), makes, prints=str(out / f"{name}.json"), torch_free=True
        )

    return [
        free("episode", "Draw five new classes",
             "data", "episode", "glyphs:test", "--seed", "1", "--queries", "5", "--names",
             "--support", support, "--query", query, makes=(support, query)),
        free("adapt", "Teach them to the pruned model, without torch",
             "adapt", bundle, support, "-o", delta, makes=(delta,)),
        free("predict", "Ask it about new drawings of them", "predict", bundle, query, "--delta", delta),
        free("inspect", "Look into the bundle", "inspect", bundle),
    ]  # fmt: skip


def _bench(out: Path, plan: Plan) -> Step:
    rounds = ("--repeat", f"{plan.rounds}", "--cold", f"{plan.cold}")
    return Step(
        "bench",
        "Measure adaptation beside torch, taking turns",
        ("bench", str(out / "pruned.regrow"), *rounds, "--json"),
        (),
        prints=str(out / "bench.json"),
    )


def find_recipe() -> Path:
    """The demo's recipe, where the trainer keeps its own: in the package, or beside it in a checkout."""
    package = _folder("regrow_trainer")
    places = [package / "recipes" / RECIPE, package.parent.parent / "recipes" / RECIPE]
    for place in places:
        if place.is_file():
            return place
    raise UnsupportedError(f"{places[0]}: not found, expected the demo's recipe; install regrow again")


def sources() -> list[Path]:
    """Every source file that can change an outcome; the demo and the command line only report it."""
    folders = [_folder(name) for name in ("regrow", "regrow_exporter", "regrow_trainer")]
    found = [p for folder in folders for p in sorted(folder.rglob("*.py"))]
    told = [folders[0] / "demo", folders[0] / "cli"]
    return [p for p in found if not any(p.is_relative_to(folder) for folder in told)]


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UnsupportedError(f"{package}: not found, expected it beside regrow; install regrow again")
    return Path(spec.submodule_search_locations[0])


def _shown(path: Path) -> str:
    """Relative where that is shorter to type."""
    return min(str(path), os.path.relpath(path), key=len)
