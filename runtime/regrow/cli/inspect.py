"""regrow inspect: what a bundle takes in, what may change in it, what it weighs, where it comes from."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regrow.cli.command import Command, emit, human_bytes, table
from regrow.moves import shown

if TYPE_CHECKING:
    from regrow.bundle import Bundle
    from regrow.manifest import Parameter


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("bundle", help="a .regrow file")
    parser.add_argument(
        "--support", type=int, nargs="+", metavar="N", default=[], help="plan peak memory for these sizes too"
    )


def run(args: argparse.Namespace) -> int:
    """Print the facts."""
    from regrow import bundle

    facts = describe(bundle.read(args.bundle), args.support)
    emit(args, facts, "" if args.json else render(facts))
    return 0


def describe(bundle: Bundle, support: list[int]) -> dict[str, Any]:
    """Everything `inspect` prints, as JSON data."""
    made = bundle.manifest
    plain = made.to_json()
    return {
        "path": bundle.path,
        "name": made.name,
        "digest": bundle.digest,
        "format_version": made.format_version,
        "task": made.task,
        "input": plain["input"],
        "output": plain["output"],
        "rule": plain["rule"],
        "policy": plain["policy"],
        "parameters": [_parameter(p) for p in made.parameters],
        "adaptable": _adaptable(bundle),
        "sparsity": _sparsity(made.parameters),
        "sparse": sparse_bytes(made.parameters),
        "bytes": _sizes(bundle),
        "peak_bytes": _peaks(bundle, support),
        "statistics": plain["statistics"],
        "state": plain["state"],
        "verification": made.verification,
        "provenance": made.provenance,
    }


def _parameter(p: Parameter) -> dict[str, Any]:
    return {
        "name": p.name,
        "shape": list(p.shape),
        "adaptable": shown(p.adaptable),
        "encoding": p.encoding,
        "values": p.values,
        "kept": p.kept,
        "size": p.size,
        "sparsity": p.sparsity,
        "bytes": p.bytes,
        "dense_bytes": 4 * p.size,
    }


def _adaptable(bundle: Bundle) -> dict[str, int]:
    """What a session holds in memory of its own: adapted tensors are dense fp32 whatever the file stores."""
    own = [p for p in bundle.manifest.parameters if p.adaptable != "none"]
    return {
        "tensors": len(own),
        "values": sum(bundle.movable(p) for p in own),
        "bytes": sum(4 * p.size for p in own),
    }


def _sparsity(parameters: tuple[Parameter, ...]) -> float:
    # What holds nothing yet was not pruned.
    parameters = tuple(p for p in parameters if p.kept)
    size = sum(p.size for p in parameters)
    return 1.0 - sum(p.kept for p in parameters) / size if size else 0.0


def sparse_bytes(parameters: tuple[Parameter, ...]) -> dict[str, float] | None:
    """What tensors with pruned positions take, and the least they could where masks have no pattern."""
    from regrow.values import information_bound

    sparse = [p for p in parameters if p.encoding != "dense"]
    if not sparse:
        return None
    bound = sum(information_bound(p.shape, p.kept, p.values) for p in sparse)
    return {"tensors": len(sparse), "bytes": sum(p.bytes for p in sparse), "bound": round(bound, 1)}


def sparse_text(sparse: dict[str, float]) -> str:
    """The same in words."""
    above = sparse["bytes"] / sparse["bound"] - 1 if sparse["bound"] else 0.0
    side = "above" if above >= 0 else "below"
    bound = f"the information bound of mask + values, {sparse['bound']:,.0f}"
    return f"{sparse['bytes']:,} bytes, {abs(above):.1%} {side} {bound}"


def _sizes(bundle: Bundle) -> dict[str, int]:
    made, total = bundle.manifest, os.path.getsize(bundle.path)
    blobs = {
        key: sum(bundle.tensors[t].nbytes for t in table.values())
        for key, table in (("graphs", made.graphs), ("programs", made.programs))
    }
    sizes = {
        "weights": sum(p.bytes for p in made.parameters),
        "rule": sum(t.nbytes for group in (bundle.meta, bundle.state) for t in group.values()),
        "statistics": sum(t.nbytes for t in bundle.statistics.values()),
        **blobs,
    }
    # Header, padding and digest.
    return {
        **sizes,
        "manifest": total - sum(sizes.values()),
        "total": total,
        "dense_fp32": sum(4 * p.size for p in made.parameters),
    }


def _peaks(bundle: Bundle, support: list[int]) -> dict[str, int]:
    from regrow import plan
    from regrow.errors import SampleError

    known = dict(bundle.manifest.peak_bytes)
    if any(n < 1 for n in support):
        raise SampleError(
            f"--support: {min(support)} samples, expected 1 or more; ask for a size you will use"
        )
    programs = {name: bundle.program(name) for name in bundle.manifest.programs} if support else {}
    known |= {str(n): plan.peak_bytes(programs, n) for n in support}
    return dict(sorted(known.items(), key=lambda item: int(item[0])))


def render(facts: dict[str, Any]) -> str:
    """The same facts for people."""
    sections = [
        _head(facts),
        f"parameters (* adaptable)\n{_parameters(facts['parameters'])}",
        f"bytes\n{_bytes(facts['bytes'])}",
        f"peak memory of one adaptation, as planned\n{_memory(facts['peak_bytes'])}",
        f"verification\n{_free(facts['verification'])}",
        f"provenance\n{_free(facts['provenance'])}",
    ]
    return "\n\n".join(sections)


def _head(f: dict[str, Any]) -> str:
    scale = f"(v - {f['input']['mean']:g}) / {f['input']['std']:g}, bytes / 255 first"
    policy, own = f["policy"], f["adaptable"]
    args = ", ".join(f"{k}={v}" for k, v in f["rule"]["args"].items())
    metric = f["rule"]["kind"] == "metric"
    learns = "a metric head, fitted without a gradient" if metric else f"{f['rule']['steps']} steps"
    labels = f", labels {', '.join(f['output']['labels'])}" if f["output"]["labels"] else ""
    rows = [
        ("bundle", f"{f['name']}  ({f['task']}, format {f['format_version']})"),
        ("digest", f["digest"]),
        ("input", f"{f['input']['kind']} {_shape(f['input']['shape'])} {f['input']['dtype']}: {scale}"),
        ("output", f"{_shape(f['output']['shape'])} {f['output']['kind']}{labels}"),
        ("rule", f"{f['rule']['name']}({args}), {learns}"),
        ("ways", f"{policy['min_ways']} to {policy['max_ways']}" if f["task"] == "classification" else "-"),
        ("batch norm", policy["batch_norm"]),
        ("rolls back", _rollback(policy["max_loss_rise"])),
        (
            "adaptable",
            f"{own['tensors']} tensors, {own['values']:,} values, {human_bytes(own['bytes'])} per session",
        ),
        ("sparsity", f"{f['sparsity']:.1%} of all weights are pruned"),
    ]
    rows += [("sparse tensors", sparse_text(f["sparse"]))] if f["sparse"] else []
    rows += simplified_rows(f["provenance"])
    return table(rows)


def simplified_rows(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the exporter took out of the network, in words; no row where it left it as it was."""
    found = provenance.get("simplified")
    if not isinstance(found, dict):
        return []
    channels = found.get("channels", {})
    parts = [
        f"{channels.get('removed', 0)} of {channels.get('of', 0)} channels removed",
        f"{found.get('norms', 0)} norms and {found.get('constants', 0)} constants folded",
    ]
    return [("simplified", ", ".join(parts))]


def _rollback(rise: float) -> str:
    # The largest float32 stands for no bound, as JSON has no infinity.
    return "when the loss is not finite" if rise > 1e38 else f"when the loss rises by more than {rise:g}"


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = [("", "name", "shape", "moves", "stored as", "sparsity", "bytes")]
    for p in parameters:
        rows.append(
            (
                "" if p["adaptable"] == "none" else "*",
                p["name"],
                _shape(p["shape"]),
                p["adaptable"],
                f"{p['encoding']} {p['values']}",
                f"{p['sparsity']:.1%}",
                f"{p['bytes']:,}",
            )
        )
    return table(rows, right=(5, 6))


def _bytes(sizes: dict[str, int]) -> str:
    share = sizes["total"] / sizes["dense_fp32"] if sizes["dense_fp32"] else math.nan
    notes = {
        "manifest": "with header and digest",
        "dense_fp32": f"the weights alone; the file is {share:.0%} of it",
    }
    rows = [(name, f"{count:,}", notes.get(name, "")) for name, count in sizes.items()]
    return table(rows, right=(1,))


def _memory(peaks: dict[str, int]) -> str:
    return table([(f"{n} samples", human_bytes(b)) for n, b in peaks.items()], right=(0, 1)) or "not stated"


def _free(values: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{key}", _free(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [f"{indent}{key}", *(f"{indent}  {json.dumps(row)}" for row in value)]
        else:
            lines.append(f"{indent}{key}  {value if isinstance(value, str) else json.dumps(value)}")
    return "\n".join(lines) or "none"


def _shape(shape: list[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


COMMAND = Command(
    "inspect", "show what a bundle is, what may change in it and what it weighs", configure, run
)
