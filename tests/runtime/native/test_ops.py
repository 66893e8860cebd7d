"""Every op of the core against the numpy fp64 reference, on random shapes and at every vector width."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.engines import core
from regrow.ops import OPS
from tests.runtime.native.cases import CASES
from tests.runtime.native.drive import outputs, single

if not core.PATH.exists():
    pytest.skip("the native core is not built: no C compiler here", allow_module_level=True)

# fp32 against fp64: a few roundings per term of the longest sum, relative to the largest element.
LIMIT = 2e-5


def error(found: Any, exact: Any, inputs: list[Any]) -> float:
    """Largest difference, relative to the largest element or a tenth of the largest operand.

    The operands count because terms cancel. Whole numbers and truth values must be equal.
    """
    if found.dtype != np.float32:
        return 0.0 if np.array_equal(found, exact) else np.inf
    same = (found == exact) | (np.isnan(found) & np.isnan(exact))
    finite = np.isfinite(exact)
    if not same[~finite].all():
        return float(np.inf)
    operands = [float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in inputs if a.dtype == np.float32]
    top = max(float(np.abs(exact[finite]).max(initial=0.0)), 0.1 * max(operands, default=0.0), 1e-3)
    return float(np.abs(found[finite] - exact[finite]).max(initial=0.0)) / top


def test_there_is_a_case_for_every_op() -> None:
    assert set(CASES) == set(OPS)


@pytest.mark.parametrize("kind", sorted(CASES))
@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_core_computes_what_the_reference_does(kind: str, seed: int) -> None:
    inputs, attrs = CASES[kind](np.random.default_rng(seed))
    program, exact, arrays = single(kind, inputs, attrs)
    for width in range(core.library().regrow_width() + 1):
        for found, want in zip(outputs(program, arrays, width=width), exact, strict=True):
            assert found.shape == want.shape
            assert error(found, want, inputs) < LIMIT, (width, attrs, [a.shape for a in inputs])
