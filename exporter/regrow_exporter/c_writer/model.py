"""The text of model.h and model.c. Pure: a bound bundle in, C out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import regrow
from regrow.plan.make import Plan
from regrow_exporter.c_writer.bound import Bound
from regrow_exporter.c_writer.numbers import code
from regrow_exporter.c_writer.text import TYPES, braces, comment, constant, define, identifiers, items, string

Array = NDArray[Any]
TEMPLATES = Path(__file__).resolve().parent / "templates"


def header(b: Bound) -> str:
    """model.h: what a program needs to know."""
    made, width = b.bundle.manifest, prod(b.bundle.manifest.output.shape)
    macros: dict[str, str | int] = {
        "MODEL_NAME": string(made.name),
        "MODEL_DIGEST": string(b.bundle.digest),
        "MODEL_SAMPLES": f"{b.samples}u",
        "MODEL_QUERIES": f"{b.queries}u",
        "MODEL_INPUTS": f"{prod(made.input.shape)}u",
        "MODEL_INPUT_SHAPE": "{" + ", ".join(map(str, made.input.shape)) + "}",
        "MODEL_INPUT_MEAN": items(np.array([made.input.mean], np.float32))[0],
        "MODEL_INPUT_STD": items(np.array([made.input.std], np.float32))[0],
        "MODEL_INPUT_INVERT": int(made.input.invert),
        "MODEL_OUTPUTS": f"{width}u",
        "MODEL_TARGETS": f"{b.target}u",
        "MODEL_STEPS": f"{made.rule.steps}u",
        "MODEL_MAX_STEPS": "1u" if made.rule.kind == "metric" else "100000u",
        "MODEL_ARENA_BYTES": f"{b.arena_bytes}u",
        "MODEL_VALUE_BYTES": f"{b.offsets['']}u",
    }
    if made.output.labels:
        macros["MODEL_LABELS"] = "{" + ", ".join(map(string, made.output.labels)) + "}"
    parts = {
        "name": comment(made.name),
        "version": regrow.__version__,
        "macros": define(macros),
        "target": "int32_t" if b.labelled else "float",
        "about": _LABELLED if b.labelled else _VALUED,
    }
    return _filled("model.h", parts)


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """A template with every @word@ replaced; what replaces one is not looked at again."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda found: parts[found.group(1)], text)


_LABELLED = """`y` holds a label per sample, 0 to outputs - 1; only the first `outputs`
 * of the model's outputs take part, 1 to MODEL_OUTPUTS."""
_VALUED = """`y` holds MODEL_TARGETS numbers per sample; `outputs` is MODEL_OUTPUTS."""


def source(b: Bound) -> str:
    """model.c: plans, weights and the entry points."""
    made = b.bundle.manifest
    fields = identifiers(b.changing)
    arrays, places = _constants(b)
    base = [f".{f} = {braces(b.changing[n], '        ')}" for n, f in fields.items()]
    parts = {
        "name": comment(made.name),
        "digest": b.bundle.digest,
        "plans": "\n".join(
            constant(name, plan.words(code), note)
            for name, plan, note in (
                ("ADAPT", b.adapt, "Words for the core: load, steps, and what comes after them."),
                ("PREDICT", b.predict, "Words for the core: one pass."),
            )
        ),
        "constants": "\n".join(arrays),
        "fields": _struct({field: b.changing[name] for name, field in fields.items()}),
        "base": ",\n    ".join(base),
        "staged": _staged({fields[n]: b.changing[n] for n in b.changing if n.startswith("stat:")}),
        "adapt_blocks": _table(b.adapt, "adapt", places),
        "predict_blocks": _table(b.predict, "predict", places),
        "adapt_binding": _binding(b.adapt, fields),
        "predict_binding": _binding(b.predict, fields),
        "checks": "\n".join(_check(b, name, field) for name, field in fields.items() if _floats(b, name)),
        "commits": "\n".join(_commit(b, name, field) for name, field in fields.items()),
        "rise": items(np.array([made.policy.max_loss_rise], np.float32))[0],
        "owner": f"0x{b.bundle.digest[:16]}u",
        "target": "int32_t" if b.labelled else "float",
    }
    return _filled("model.c", parts | (_LABELS if b.labelled else _NO_LABELS))


def _struct(fields: Mapping[str, Array]) -> str:
    return "\n".join(f"    {TYPES[array.dtype.name]} {name}[{array.size}];" for name, array in fields.items())


def _staged(statistics: Mapping[str, Array]) -> str:
    if not statistics:
        return ""
    about = "/* Statistics of the samples, until the adaptation is found good. */"
    return f"{about}\nstatic struct {{\n{_struct(statistics)}\n}} staged;\n\n"


def _constants(b: Bound) -> tuple[list[str], dict[tuple[str, str], str]]:
    """Definitions, equal arrays once, and the name for each block of each plan."""
    names = identifiers(dict.fromkeys(f"{plan}:{block}" for plan, block in b.fixed), "k_")
    seen: dict[tuple[str, bytes], str] = {}
    arrays, places = [], {}
    for (plan, block), array in b.fixed.items():
        key = (array.dtype.name, array.tobytes())
        if key not in seen:
            seen[key] = names[f"{plan}:{block}"]
            arrays.append(constant(seen[key], array, block))
        places[plan, block] = seen[key]
    return arrays, places


def _table(plan: Plan, which: str, places: Mapping[tuple[str, str], str]) -> str:
    """The blocks that are the same in every call; the others are bound when it is made."""
    lines = []
    for block in plan.blocks:
        name = "arena" if block == "arena" else places.get((which, block))
        entry = "{NULL, 0}" if name is None else f"{{(void *)(uintptr_t){name}, sizeof {name}}}"
        lines.append(f"    {entry}, /* {comment(block)} */")
    return "\n".join(lines)


def _binding(plan: Plan, fields: Mapping[str, str]) -> str:
    lines = []
    for number, block in enumerate(plan.blocks):
        out, _, stat = block.partition("out:")
        if block in fields:
            lines.append(f"    BIND({number}, current->{fields[block]}, sizeof current->{fields[block]});")
        elif not out and stat in fields:
            lines.append(f"    BIND({number}, staged.{fields[stat]}, sizeof staged.{fields[stat]});")
        elif block in _CALLER:
            lines.append(f"    BIND({number}, {', '.join(_CALLER[block])});")
    return "\n".join(lines)


# Blocks that the caller brings, and how large they are.
_CALLER = {
    "x": ("x", "samples * MODEL_INPUTS * sizeof(float)"),
    "y": ("targets", "target_bytes"),
    "active": ("active", "sizeof active"),
    "out:losses": ("losses", "steps * sizeof(float)"),
    "out:final_loss": ("losses + steps", "sizeof(float)"),
    "out:logits": ("y", "MODEL_QUERIES * MODEL_OUTPUTS * sizeof(float)"),
}


def _floats(b: Bound, name: str) -> bool:
    return b.changing[name].dtype == np.float32 and b.changing[name].size > 0


def _where(b: Bound, name: str, field: str) -> str:
    return f"arena + {b.adapt.carried[name].offset}" if name in b.adapt.carried else f"staged.{field}"


def _check(b: Bound, name: str, field: str) -> str:
    return (
        f"    if (!all_finite((const float *)(const void *)({_where(b, name, field)}), "
        f"{b.changing[name].size})) return REGROW_E_LOSS;"
    )


def _commit(b: Bound, name: str, field: str) -> str:
    return f"    memcpy(learned.{field}, {_where(b, name, field)}, sizeof learned.{field});"


_LABELS = {
    "statics": "static int64_t targets[MODEL_SAMPLES];\n",
    "judge_outputs": "if (outputs < 1 || outputs > MODEL_OUTPUTS) return REGROW_E_COUNT;",
    "prepare": """    const uint64_t target_bytes = sizeof targets;
    uint8_t active[MODEL_OUTPUTS];
    for (uint32_t i = 0; i < MODEL_OUTPUTS; i++) active[i] = i < outputs;
    for (uint32_t i = 0; i < MODEL_SAMPLES; i++) {
        if (y[i] < 0 || (uint32_t)y[i] >= outputs) return REGROW_E_INDEX;
        targets[i] = y[i];
    }""",
}
_NO_LABELS = {
    "statics": "",
    "judge_outputs": "if (outputs != MODEL_OUTPUTS) return REGROW_E_COUNT;",
    "prepare": """    const float *targets = y;
    const uint64_t target_bytes = (uint64_t)MODEL_SAMPLES * MODEL_TARGETS * sizeof(float);""",
}
