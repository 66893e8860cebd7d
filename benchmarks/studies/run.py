"""One study, step by step; each step's result is a file under its folder, so that nothing is done twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.studies import choose, device, measure, nets
from benchmarks.studies.bundles import exported
from benchmarks.studies.episodes import users
from benchmarks.studies.methods import METHODS, RAW
from benchmarks.studies.nets import NETS, Place
from benchmarks.studies.study import PROTOCOLS, Study, load, plain_data
from regrow.bench.machine import describe
from regrow.files import atomic_write
from regrow_trainer.recipe import load_recipe


@dataclass(frozen=True)
class Pass:
    """Who is asked, and how much is done: `sets` are of all trainings, the last two of the bench."""

    part: str = "test"
    sets: tuple[str, ...] = ()
    repeat: int = 15
    cold: int = 3


# Of validation users: whoever tries the path must not see the others.
QUICK = Pass(
    "validation",
    ("train.iterations=4", "train.tasks=2", "validation.every=4", "validation.episodes=4"),
    repeat=2,
    cold=1,
)


def shortened(study: Study) -> Study:
    """The same questions with next to no work."""
    return replace(
        study,
        shots=(1, study.main_shots),
        draws=1,
        queries=min(study.queries, 3),
        plain=(*study.plain, "train.iterations=4"),
        retrain=2,
        steps=(1, 2),
        tuned=study.tuned[:2],
        scratch=study.scratch[:1],
        steps_tuned=(1, 2),
        validation_draws=1,
    )


def run(study: Study, out: Path, *, quick: bool = False, protocols: Path = PROTOCOLS) -> dict[str, Any]:
    """The study's record, from a folder of its own below `out`.

    A quick pass keeps its protocol in its folder, and nothing has to be committed.
    """
    shipped = load(study.of) if study.of else study  # the one whose networks answer
    given, made, how = study, shipped, Pass()
    if quick:
        given, made, how = shortened(study), shortened(shipped), QUICK
    folders = {s.name: out / (f"{s.name}-quick" if quick else s.name) for s in (given, made)}
    place = Place(folders[made.name], how.sets)
    seconds = nets.made(made, place)
    path = choose.protocol_path(made, place.folder if quick else protocols)
    if not path.exists():
        began = time.monotonic()
        choose.write(path, choose.chosen(made, place))
        seconds |= {"choosing": round(time.monotonic() - began, 1)}
        nets.keep_seconds(place, seconds)
    commit = None if quick else choose.committed(path)
    protocol = json.loads(path.read_text(encoding="utf-8"))
    choose.same_networks(protocol, place, path)
    tested = _tested(given, folders[given.name], place, protocol, how)
    return {**tested, "protocol": commit, "seconds": seconds}


def _tested(study: Study, folder: Path, place: Place, protocol: dict[str, Any], how: Pass) -> dict[str, Any]:
    """Everything that test users and devices say, kept in the study's own folder."""
    recipe = load_recipe(str(study.recipe_path))
    data = recipe.data.model_dump()
    test = users({**data, **study.asked.get(how.part, {})}, how.part)
    trained = None if study.fresh else users(data, "train")
    ways = len(next(iter(test.values())).classes)
    folder.mkdir(exist_ok=True)
    bundles = exported(place, protocol["chosen"])
    scores: dict[str, Any] = {}
    for name, method in METHODS.items():
        label = f"{study.name}, {method.title}"
        scores[name] = _kept(
            folder / f"test-{name}.json",
            lambda name=name, method=method, label=label: measure.measured(  # type: ignore[misc]
                study, test, bundles[name], metric=method.metric, label=label
            ),
        )
    scores[RAW] = _kept(folder / f"test-{RAW}.json", lambda: measure.raw_means(study, test, trained))
    support = ways * study.main_shots
    costs = {
        name: _kept(
            folder / f"device-{name}.json",
            lambda path=path: device.costs(path, support, how.repeat, how.cold),  # type: ignore[misc]
        )
        for name, path in bundles.items()
    }
    alike = _kept(
        folder / "agreement.json",
        lambda: {"share": measure.agreement(study, test, bundles["ours"], device.ENGINES)},
    )
    return {
        "study": plain_data(study) if study.of else protocol["study"],
        "seed": recipe.seed,
        "users": sorted(test),
        "ways": ways,
        "classes": list(next(iter(test.values())).classes),
        "chosen": protocol["chosen"],
        "networks": {net: nets.facts(place, net) for net in NETS},
        "methods": scores,
        "device": costs,
        "engines_agree": alike["share"],
        "machine": describe(),
    }


def _kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was made before, or is made now and kept, with the seconds it took."""
    if not path.exists():
        began = time.monotonic()
        made = {**make(), "wall_s": round(time.monotonic() - began, 1)}
        atomic_write(path, json.dumps(made, indent=1).encode())
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
