"""Make one case: export its bundle, find an episode without ties, let the reference say what is right."""

import math
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch

from regrow import bundle as bundles
from regrow import selftest
from regrow.bundle import Bundle
from regrow.conformance import arrays, pack
from regrow.conformance.arrays import Array
from regrow.conformance.judge import negligible, outputs
from regrow.conformance.subjects import STAGES, expect
from regrow.errors import UnsupportedError
from regrow_exporter.capture import labelled
from regrow_exporter.conformance import ties, torch_side
from regrow_exporter.conformance.cases import STEPS, Plan
from regrow_exporter.deviation import ENGINE_FACTOR
from regrow_exporter.pipeline import export

SHOTS, QUERIES, EXAMPLES = 2, 6, 8
# What a tolerance is at least, and at most: beyond that a gradient wrong by a hundredth might pass.
FLOOR, CEILING = 1e-4, 2e-3
# The same for an output that is zero but for rounding, in thousandths of all of its kind.
ROUNDING = 0.05
MAX_SEED = 200
Arrays = dict[str, Array]


def write(folder: Path, name: str, plan: Plan) -> None:
    """Write the folder of one case."""
    module, masks = plan.build()
    example = torch.from_numpy(selftest.episode(MAX_SEED, EXAMPLES, plan.ways, plan.shape)[0])
    made = torch_side.learner(plan, module, masks, example)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, pack.MODEL)
        settings = {"steps": STEPS, "max_loss_rise": 100.0, "meta": plan.meta(module), **plan.settings}
        export(module, example, masks=masks or None, path=path, onnx=scratch, name=name, **settings)
        files = {file: Path(scratch, file).read_bytes() for file in (pack.MODEL, pack.ADAPT, pack.PREDICT)}
        bundle = bundles.read(path)
        seed, support, query = _episode(name, plan, bundle)
        expected = expect(bundle, support, query)
        ops = {op.kind for stage in STAGES for op in bundle.program(stage).ops}
    facts = pack.Facts(
        name=name,
        says=plan.says,
        rule=bundle.manifest.rule.name,
        steps=int(support["steps"]),
        seed=seed,
        ops=tuple(sorted(ops)),
        adapt=_graph(files[pack.ADAPT]),
        predict=_graph(files[pack.PREDICT]),
        tolerances=_tolerances(name, expected, torch_side.lost(made, support, expected)),
    )
    samples = {pack.SUPPORT: support, pack.QUERY: query, pack.EXPECTED: expected}
    pack.write_case(folder, facts, files | {file: arrays.pack(made) for file, made in samples.items()})


def _episode(name: str, plan: Plan, bundle: Bundle) -> tuple[int, Arrays, Arrays]:
    """The first one that stays clear of ties, with the number of its draw."""
    for seed in range(MAX_SEED):
        support, query = _draw(seed, plan, bundle)
        if ties.clear(bundle, support, query):
            return seed, support, query
    raise UnsupportedError(
        f"conformance: {name}: none of {MAX_SEED} episodes is clear of ties; change its plan"
    )


def _draw(seed: int, plan: Plan, bundle: Bundle) -> tuple[Arrays, Arrays]:
    """What the adapt graph and, before any adaptation, the predict graph are given; by input name."""
    count = SHOTS * plan.ways
    x, y = selftest.episode(seed, count + QUERIES, plan.ways, plan.shape)
    support: Arrays = {"x": x[:count], "steps": np.asarray(bundle.manifest.rule.steps)}
    if labelled(plan.settings.get("loss", "cross_entropy")):
        active = np.arange(bundle.manifest.output.shape[0]) < plan.ways
        support |= {"y": y[:count], "active": active}
    else:
        support["y"] = np.sin(6 * x[:count]).astype(np.float32)
    statistics = {f"stat:{n}": array for n, array in bundle.statistics.items()}
    return support, {"x": x[count:], **statistics}


def _tolerances(name: str, expected: Arrays, lost: dict[str, float]) -> dict[str, float]:
    """Eight times what torch loses in fp32; of outputs that torch does not have, what it loses at worst."""
    rounding = negligible(expected)
    worst = max(error for output, error in lost.items() if output not in rounding)
    made = {}
    for output in outputs(expected):
        limit, most = ENGINE_FACTOR * lost.get(output, worst), CEILING
        if output in rounding:
            most = ROUNDING
        if limit > most:
            raise UnsupportedError(
                f"conformance: {name}: torch in fp32 loses {limit / ENGINE_FACTOR:.1e} of {output}, expected "
                f"at most {most / ENGINE_FACTOR:.1e}, or a wrong result could pass; change its plan"
            )
        made[output] = ROUNDING if output in rounding else _rounded_up(max(FLOOR, limit))
    return made


def _rounded_up(limit: float) -> float:
    """To two digits: what torch loses depends a little on the machine."""
    scale = 10.0 ** (math.floor(math.log10(limit)) - 1)
    return float(f"{math.ceil(limit / scale - 1e-9) * scale:.1e}")


def _graph(data: bytes) -> pack.Graph:
    graph = onnx.load_from_string(data).graph
    given = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input]
    return pack.Graph(
        tuple(name for name in inputs if name not in given),
        tuple(name for name in inputs if name in given),
        tuple(value.name for value in graph.output),
    )
