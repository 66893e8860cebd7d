"""The only errors regrow raises on purpose. Each message names place, found, expected and remedy."""


class RegrowError(Exception):
    """Base of every error a user can cause or must handle."""


class BundleError(RegrowError):
    """A file (bundle, delta, checkpoint) is damaged, foreign, or of another version."""


class UnsupportedError(RegrowError):
    """Something regrow cannot do here: lists every offending op, or names the missing extra."""


class BudgetError(RegrowError):
    """More bytes are needed than were allowed; says needed, given, and what would fit."""


class SampleError(RegrowError):
    """The samples or labels a user gave cannot be used."""


class AdaptError(RegrowError):
    """Adaptation went wrong (loss not finite or risen beyond its bound) and was rolled back."""
