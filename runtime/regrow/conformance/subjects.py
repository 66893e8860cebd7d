"""What can be checked against a pack: the engines, the plain ONNX graphs, and the fp64 reference itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import regrow
from regrow import bundle as bundles
from regrow import engines, reference
from regrow.bundle import Bundle
from regrow.conformance.arrays import Array
from regrow.conformance.judge import AFTER, BEFORE, START
from regrow.conformance.pack import ADAPT, MODEL, PREDICT, QUERY, SUPPORT, Case
from regrow.engines import Engine
from regrow.errors import BundleError, UnsupportedError

Arrays = Mapping[str, Array]
Results = dict[str, Array]
Subject = Callable[[Case], Results]

GRAPHS, REFERENCE = "graphs", "reference"
# The output of an adaptation -> the input that it continues.
_CONTINUES = {"new": "param", "newstate": "state", "stat": "stat"}
STAGES = ("predict", "prefix", "step", "finish")


def known() -> tuple[str, ...]:
    """Every subject by name."""
    return (*engines.ENGINES, GRAPHS, REFERENCE)


def present() -> tuple[str, ...]:
    """Those that can run here."""
    here = engines.available()
    return (*here, *([GRAPHS] if "onnx" in here else []), REFERENCE)


def subject(name: str) -> Subject:
    """How to run a case; refuses one that is not here."""
    if name == REFERENCE:
        return _reference
    if name == GRAPHS:
        engines.pick("onnx")
        return _graphs
    if name not in engines.ENGINES:
        raise UnsupportedError(f"engine {name!r}: no such engine, expected one of {', '.join(known())}")
    engines.pick(name)
    return lambda case: engine_results(
        regrow.open(case.path(MODEL), engine=name).engine,
        bundles.read(case.path(MODEL)),
        case.arrays(SUPPORT),
        case.arrays(QUERY),
    )


def engine_results(engine: Engine, bundle: Bundle, support: Arrays, query: Arrays) -> Results:
    """The expected outputs of a case as an engine makes them."""
    params = {p.name: bundle.params[p.name] for p in bundle.manifest.parameters if p.adaptable != "none"}
    samples, steps = (support["x"], support["y"], support.get("active")), int(support["steps"])
    adapted = engine.adapt(*samples, params, bundle.state, steps)
    return {
        "loss": adapted.losses,
        "final_loss": np.asarray(adapted.final_loss),
        **_named("new", adapted.params),
        **_named("newstate", adapted.state),
        **_named("stat", adapted.statistics),
        BEFORE: engine.predict(query["x"], params, bundle.statistics),
        AFTER: engine.predict(query["x"], adapted.params, adapted.statistics),
    }


def environment(bundle: Bundle, support: Arrays) -> Results:
    """Every value that the programs of a bundle read, on a support set."""
    masked = [p for p in bundle.manifest.parameters if p.adaptable not in ("none", "all")]
    return {
        **bundle.params,
        **support,
        **_named("meta", bundle.meta),
        **_named("state", bundle.state),
        **{f"mask:{p.name}": bundle.mask(p) for p in masked},
    }


def expect(bundle: Bundle, support: Arrays, query: Arrays) -> Results:
    """What a case must lead to, by the numpy reference in fp64, and the weights that it started from."""
    programs = {name: bundle.program(name) for name in STAGES}
    made, env = bundle.manifest, environment(bundle, support)
    start = {p.name: bundle.params[p.name] for p in made.parameters if p.adaptable != "none"}
    known, losses = reference.adapt(programs, env, int(support["steps"]))
    statistics = {f"stat:{s.name}": known[f"stat:{s.name}"] for s in made.statistics}
    before = reference.run(programs["predict"], {**env, **query})
    # Queries come with the statistics of before; adapting has made others.
    after = reference.run(programs["predict"], {**known, **query, **statistics})
    return {
        "loss": np.array(losses),
        "final_loss": np.asarray(known["loss"]),
        **_named("new", {name: known[name] for name in start}),
        **{f"newstate:{s.name}": known[f"state:{s.name}"] for s in made.state},
        **statistics,
        BEFORE: before["logits"],
        AFTER: after["logits"],
        **{START + name: array for name, array in start.items()},
    }


def _reference(case: Case) -> Results:
    return expect(bundles.read(case.path(MODEL)), case.arrays(SUPPORT), case.arrays(QUERY))


def _graphs(case: Case) -> Results:
    """The plain files on stock onnxruntime, as another runtime would read them."""
    adapted = _run(case, ADAPT, case.arrays(SUPPORT))
    query = case.arrays(QUERY)
    learned = {}
    for name, array in adapted.items():
        kind, _, rest = name.partition(":")
        if kind in _CONTINUES:
            learned[f"{_CONTINUES[kind]}:{rest}"] = array
    before, after = _run(case, PREDICT, query), _run(case, PREDICT, query | learned)
    return {**adapted, BEFORE: before["logits"], AFTER: after["logits"]}


def _run(case: Case, file: str, feeds: Arrays) -> Results:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # failures arrive as exceptions
    try:
        session = ort.InferenceSession(case.load(file), options, providers=["CPUExecutionProvider"])
        takes = {i.name for i in (*session.get_inputs(), *session.get_overridable_initializers())}
        names = [o.name for o in session.get_outputs()]
        made = session.run(names, {name: array for name, array in feeds.items() if name in takes})
    except Exception as error:  # onnxruntime's own exceptions share no other base
        raise BundleError(
            f"{case.path(file)}: onnxruntime could not run it ({' '.join(str(error).split())[:300]}), "
            "expected a graph for stock onnxruntime; upgrade onnxruntime or export the pack again"
        ) from error
    return dict(zip(names, made, strict=True))


def _named(prefix: str, tensors: Mapping[str, Any]) -> Results:
    return {f"{prefix}:{name}": array for name, array in tensors.items()}
