"""What begins on the way: another loss, other personal parts, pruning."""

from dataclasses import replace

from fedklpr_flwr.config.settings import Settings


def first_round(after: float, rounds: int) -> int:
    """The first round of a stage that begins after a share of the rounds.

        first = max(2, floor(after * R) + 1)

    Round 1 is never part of it: there must be something to specialise.

    Args:
        after: the share, in [0, 1]; 1 = never.
        rounds: R >= 1.
    """
    # Rounded first: 0.6 * 15 is a hair under 9 in floats.
    return max(2, int(round(after * rounds, 9)) + 1)


def settings_in_round(settings: Settings, round_number: int) -> Settings:
    """The settings as they hold in a round.

    Args:
        settings: the run's settings.
        round_number: 0 (the initial model) or 1..R.

    Returns:
        The settings themselves where no stage has begun; applying it twice changes nothing.
    """
    method, stages, rounds = settings.method, settings.stages, settings.federation.rounds
    after = stages.personal_after
    if after is not None and round_number >= first_round(after, rounds):
        method = replace(method, personal_parts=stages.personal_parts)
    after = stages.loss_after
    if after is not None and round_number >= first_round(after, rounds):
        method = replace(method, local_loss=stages.local_loss)
    return settings if method is settings.method else replace(settings, method=method)


def first_prune(settings: Settings) -> int:
    """The first round that may prune: `pruning.first_round`, or later by `pruning.after`."""
    pruning, rounds = settings.pruning, settings.federation.rounds
    return later_by(pruning.after, pruning.first_round, rounds)


def later_by(after: float | None, first: int, rounds: int) -> int:
    """A first round, put off until after a share of the rounds; None = not put off."""
    return first if after is None else max(first, first_round(after, rounds))


def pruning_schedule(settings: Settings) -> tuple[float, float, int, str]:
    """What the ideal schedule follows from: rate, target, first round and form."""
    chosen = settings.pruning
    return chosen.rate, chosen.target, first_prune(settings), chosen.schedule
