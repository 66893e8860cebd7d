"""Write what an export made: the bundle, only after its own self-test, and the standalone ONNX files."""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regrow import bundle, selftest
from regrow.files import atomic_write
from regrow.manifest import Manifest
from regrow_exporter.compact import compact
from regrow_exporter.deviation import VerificationError
from regrow_exporter.onnx_writer import write_adapt, write_single
from regrow_exporter.programs import Programs
from regrow_exporter.provers import engines


def write_checked(path: Path, manifest: Manifest, tensors: Mapping[str, NDArray[Any]]) -> str:
    """Write beside the target, run the bundle's own self-test as a device would, then move it into place."""
    draft = path.with_name(f"{path.name}.unverified")
    try:
        digest = bundle.write(draft, manifest, tensors)
        for name, engine in engines(read := bundle.read(draft)).items():
            problem = None if isinstance(engine, str) else selftest.check(read, engine)
            if problem:
                raise VerificationError(
                    f"{path}: the written bundle fails its self-test on {name}: {problem}; export refused"
                )
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    return digest


def write_onnx(
    folder: Path,
    programs: Programs,
    env: Mapping[str, NDArray[Any]],
    manifest: Manifest,
    masks: Mapping[str, NDArray[np.bool_]],
) -> None:
    """predict.onnx, adapt.onnx (weights inside, runnable with onnxruntime alone) and manifest.json."""
    shrink = partial(compact, kept=masks, values={p.name: p.values for p in manifest.parameters})
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "predict.onnx": write_single(programs.deployed["predict"], env, "predict", shrink),
        "adapt.onnx": write_adapt(programs.deployed, env, shrink),
    }
    for name, model in files.items():
        atomic_write(folder / name, model.SerializeToString(deterministic=True))
    text = json.dumps(manifest.to_json(), indent=1, sort_keys=True) + "\n"
    atomic_write(folder / "manifest.json", text.encode())
