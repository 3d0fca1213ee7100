"""Every error this project raises on purpose, as one family.

    FedKlprError
    |-- SettingsError       a key, a value, or a pair of values that cannot be run
    |-- DataError           a picture folder that cannot be read as a re-ID data set
    |   `-- UnreadablePicture   a picture file that cannot be decoded
    |-- WeightsError        initial weights that do not fit the network
    |   `-- BrokenModel         a model whose features are not finite
    |-- WireError           bytes from the network that are not a valid update
    |-- MergeError          updates that cannot be merged
    |-- MemoryStateError    what a client keeps on disk is lost, stale or damaged
    `-- RunError            a run that cannot start, go on or be resumed

Each message says what was expected, what came, and what to do.
"""


class FedKlprError(Exception):
    """The root of the family: a fault a person can mend."""


class SettingsError(FedKlprError):
    """A key, a value, or a pair of values that cannot be run."""


class DataError(FedKlprError):
    """A picture folder that cannot be read as a re-ID data set."""


class UnreadablePicture(DataError):
    """A picture file that cannot be decoded.

    Attributes:
        why: what is wrong with it, in few words.
    """

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self), self.why)  # it may come out of another process


class WeightsError(FedKlprError):
    """Initial weights that do not fit the network."""


class BrokenModel(WeightsError):
    """A model whose features are not finite: it can neither be scored nor trained on."""


class WireError(FedKlprError):
    """Bytes from the network that are not a valid update."""


class MergeError(FedKlprError):
    """Updates that cannot be merged."""


class MemoryStateError(FedKlprError):
    """What a client keeps on disk is lost, stale or damaged."""


class RunError(FedKlprError):
    """A run that cannot start, go on or be resumed."""
