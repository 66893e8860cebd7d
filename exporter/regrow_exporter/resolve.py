"""Follow a dotted path `package.module:attribute`, but only where that was allowed."""

import importlib
from typing import Any

from regrow.errors import BundleError

TRUSTED = "regrow_trainer."


def resolve(path: str, *, named_by_user: bool) -> Any:
    """The object behind a path. Paths read from a file must lie inside the trainer."""
    if not named_by_user and not path.startswith(TRUSTED):
        raise BundleError(
            f"{path}: a file asks for code outside {TRUSTED}*, which is only followed when you name it "
            f"yourself; pass it on the command line (--backbone {path})"
        )
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise BundleError(
            f"{path}: {error}; expected package.module:attribute that can be imported from here"
        ) from error
