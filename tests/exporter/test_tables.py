"""Both sides of the op table agree: what can be run can be written, and what is forward differentiated."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from regrow.ops import OPS
from regrow_exporter.ops import IMPORT, MODULES, ONNX, VJP

# Ops that appear only behind the loss, or carry no gradient at all.
WITHOUT_GRADIENT = {
    *("constant", "full", "literal", "gather"),
    *("greater", "greater_equal", "equal", "logical_and", "logical_or", "logical_not"),
    *("floor_divide", "remainder", "argsort"),
}


def test_every_op_can_be_written_as_onnx_and_no_other():
    assert set(OPS) == set(ONNX)


def test_every_forward_op_has_a_gradient_rule():
    backward = {kind for kind in OPS if kind.endswith(("_back", "_dx", "_dw"))}
    assert set(VJP) == set(OPS) - backward - WITHOUT_GRADIENT


def test_no_row_is_shadowed_by_another_module():
    for table, total in (("IMPORT", IMPORT), ("VJP", VJP), ("ONNX", ONNX)):
        assert sum(len(getattr(module, table)) for module in MODULES) == len(total)
