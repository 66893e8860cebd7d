"""What a device will do, chosen on the validation users: steps, and where none were learned the rule's rate.

The choice, with all figures it rests on, is the study's protocol. It is to be committed before a test user is
looked at, and `committed` refuses to go on until it is.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.studies import nets
from benchmarks.studies.episodes import VALIDATION_SEED, drawn, users
from benchmarks.studies.nets import NETS, PLAIN, SCRATCH, Place
from benchmarks.studies.study import PROTOCOLS, ROOT, Candidate, Study, plain_data
from regrow import checkpoint
from regrow.checkpoint import Checkpoint
from regrow.files import atomic_write
from regrow.progress import Progress
from regrow_trainer.batching import Workers
from regrow_trainer.begin import begin
from regrow_trainer.build import build, moves, rebuild, to_checkpoint
from regrow_trainer.feed import to_task
from regrow_trainer.learner import Learner, Task
from regrow_trainer.recipe import parse_recipe
from regrow_trainer.tensors import to_tensors


def with_rule(saved: Checkpoint, candidate: Candidate | None) -> Checkpoint:
    """The same weights under another rule."""
    if candidate is None:
        return saved
    built = build(parse_recipe(saved.recipe, "checkpoint", candidate.settings))
    state, origin = begin(built, saved)
    return to_checkpoint(built, state, origin, resumable=False)


def candidates(study: Study, net: str) -> tuple[Candidate | None, ...]:
    """What is tried for a network; those that were meta-trained learned their rates."""
    return {PLAIN: study.tuned, SCRATCH: study.scratch}.get(net, (None,))


def chosen(study: Study, place: Place) -> dict[str, Any]:
    """The protocol: per network the best candidate and number of steps, and what all of them reached.

    What was tried is kept in the folder, so that an interrupted search goes on.
    """
    tasks = _tasks(study, place)
    digests = {net: _digest(place.checkpoint(net)) for net in NETS}
    kept = place.folder / "tried.json"
    tried: dict[str, list[dict[str, Any]]] = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    plan = [(net, c) for net in NETS for c in candidates(study, net)]
    made: dict[str, Any] = {net: [] for net in NETS}
    with Progress(len(plan), f"{study.name}, choosing") as progress:
        for done, (net, candidate) in enumerate(plan, 1):
            steps = study.steps if candidate is None else study.steps_tuned
            key = json.dumps([digests[net], candidate and vars(candidate), steps])
            if key not in tried:
                saved = with_rule(checkpoint.read(place.checkpoint(net)), candidate)
                tried[key] = [
                    {"candidate": candidate and vars(candidate), "steps": s, "accuracy": value}
                    for s, value in curve(saved, tasks, steps).items()
                ]
                atomic_write(kept, json.dumps(tried).encode())
            made[net] += tried[key]
            progress.update(done, best=max(row["accuracy"] for row in made[net]))
    return {
        "study": plain_data(study),
        "chosen": {net: max(rows, key=lambda row: float(row["accuracy"])) for net, rows in made.items()},
        "validation": made,
        "networks": digests,
    }


def _tasks(study: Study, place: Place) -> list[Task]:
    """A batch for every number of shots, of equally many episodes of every validation user."""
    recipe = parse_recipe(checkpoint.read(place.checkpoint(nets.OURS)).recipe, "checkpoint")
    found = users(recipe.data.model_dump(), "validation", fresh=study.fresh).values()
    sizes = (study.queries, study.validation_draws, VALIDATION_SEED, recipe.data.n_way)
    batches = [[e for user in found for e in drawn(user, shots, *sizes)] for shots in study.shots]
    return [to_task(episodes, recipe.input) for episodes in batches]


def curve(saved: Checkpoint, tasks: Sequence[Task], steps: Sequence[int]) -> dict[int, float]:
    """Accuracy after so many steps, the mean over all batches."""
    built = rebuild(replace(saved, steps=max(steps)), "checkpoint")
    params, meta, masks = to_tensors(saved.params), to_tensors(saved.meta), moves(saved)

    def score(learner: Learner, task: Task) -> dict[int, Tensor]:
        own, rates = learner.spread(params), learner.spread(meta)
        path = learner.path(own, rates, masks, task.support_x, task.support_y, max(steps))
        return {s: learner.query_scores(path[s], task).accuracy for s in steps}

    with torch.no_grad(), Workers(built.learner, built.recipe.train.batching, 1) as pool:
        found = [pool.mean(score, task, many=True) for task in tasks]
    return {s: sum(float(one[s]) for one in found) / len(found) for s in steps}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def protocol_path(study: Study, folder: Path = PROTOCOLS) -> Path:
    """Where the choice is kept."""
    return folder / f"{study.name}.json"


def write(path: Path, protocol: Mapping[str, Any]) -> None:
    """Keep a protocol."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, (json.dumps(protocol, indent=1) + "\n").encode())


def same_networks(protocol: Mapping[str, Any], place: Place, path: Path) -> None:
    """Refuse to test networks that the choice was not made for."""
    wrong = [net for net, digest in protocol["networks"].items() if digest != _digest(place.checkpoint(net))]
    if wrong:
        raise SystemExit(
            f"{place.folder}: {', '.join(wrong)} differ from those that {path.name} was chosen for, "
            "expected the same; choose again (remove that file) or bring back their runs"
        )


def committed(path: Path) -> str:
    """The commit that holds the protocol as it is; without one nothing may be tested."""
    clean = _git("status", "--porcelain", "--", str(path)) == ""
    commit = _git("log", "-1", "--format=%H", "--", str(path))
    if not (clean and commit):
        raise SystemExit(
            f"{path.relative_to(ROOT)}: is not committed as it is, expected so before a test user is looked "
            "at; commit it and give the same command again"
        )
    return commit


def _git(*words: str) -> str:
    made = subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return made.stdout.strip()
