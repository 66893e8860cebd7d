"""A bundle on its way: made, not yet proven, and written only where nobody takes it for a finished one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import regrow
from regrow import bundle
from regrow.bundle import Bundle
from regrow.manifest import Manifest
from regrow.model import Model
from regrow_exporter.programs import Learner, Programs


@dataclass(frozen=True, eq=False)
class Draft:
    """Everything that will be written, but for the self-test, the proof and what was measured."""

    learner: Learner
    programs: Programs
    env: Mapping[str, NDArray[Any]]
    manifest: Manifest
    tensors: Mapping[str, NDArray[Any]]

    def unwritten(self) -> Bundle:
        """The bundle as a device would read it."""
        return bundle.unwritten(self.manifest.name, self.manifest, self.tensors)

    @property
    def weight_bytes(self) -> int:
        """What the weights take in the file."""
        return sum(p.bytes for p in self.manifest.parameters)


def opened(draft: Draft, path: Path) -> Model:
    """The draft as a device would open it."""
    bundle.write(path, draft.manifest, draft.tensors)
    return regrow.open(path)
