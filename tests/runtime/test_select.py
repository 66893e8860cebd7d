"""Patterns to parameter names."""

import pytest

from regrow.errors import UnsupportedError
from regrow.select import select

SHAPES = {
    "blocks.0.conv.weight": (8, 1, 3, 3),
    "blocks.0.conv.bias": (8,),
    "blocks.0.norm.weight": (8,),
    "blocks.0.norm.bias": (8,),
    "blocks.1.conv.weight": (8, 8, 3, 3),
    "blocks.1.conv.bias": (8,),
    "head.weight": (5, 8),
    "head.bias": (5,),
}
NAMES = list(SHAPES)


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["*"], NAMES),
        (["head.*"], NAMES[6:]),
        (["@head"], NAMES[6:]),
        (["@last:1"], NAMES[6:]),
        (["@last:2"], NAMES[4:]),
        (["@last:99"], NAMES),
        (["@norm+bias"], [n for n in NAMES if len(SHAPES[n]) == 1]),
        (["head.bias", "blocks.?.conv.weight"], [NAMES[0], NAMES[4], NAMES[7]]),
        (["@head", "head.weight"], NAMES[6:]),
    ],
)
def test_patterns_choose_names_in_the_models_order(patterns: list[str], chosen: list[str]) -> None:
    assert select(SHAPES, patterns) == tuple(chosen)


def test_the_last_layer_is_the_head_where_none_is_called_so() -> None:
    assert select({"0.weight": (4, 3), "2.weight": (2, 4), "2.bias": (2,)}, ["@head"]) == (
        "2.weight",
        "2.bias",
    )


def test_case_matters() -> None:
    with pytest.raises(UnsupportedError):
        select(SHAPES, ["HEAD.*"])


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["hed.weight"], ["'hed.weight'", "8 parameters", "nearest names: head.weight"]),
        (["head.*", "zzz"], ["'zzz'", "@norm+bias"]),
        (["@heads"], ["'@heads'", "@head, @norm+bias, @last:N"]),
        (["@last:0"], ["'@last:0'", "@last:N"]),
        (["@last:x"], ["'@last:x'"]),
        ([], ["no pattern", "'*'"]),
    ],
)
def test_what_matches_nothing_is_an_error_that_helps(patterns: list[str], words: list[str]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        select(SHAPES, patterns)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_model_without_parameters() -> None:
    with pytest.raises(UnsupportedError, match="there are no parameters"):
        select({}, ["*"])
