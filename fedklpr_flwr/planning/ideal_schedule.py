"""The pruning schedule where no prune is ever held, and what it saves by the paper's count."""

from collections.abc import Sequence

from fedklpr_flwr.algorithm.pruning_rate import density_after


def ideal_densities(
    rounds: int, rate: float, target: float, first_round: int, schedule: str = "geometric"
) -> list[float]:
    """The share of prunable weights that is left in rounds 0..R where no prune is ever held.

    See `density_after`.

    Args:
        rounds: R.
        rate: share of what remains that a prune takes, 0..1.
        target: share of all prunable weights that is taken at most, 0..1.
        first_round: the first round that prunes.
        schedule: geometric, r_t = rate, or cubic.

    Returns:
        R + 1 densities; all 1 where first_round > R.
    """
    chosen = rate, target, first_round, schedule
    return [density_after(number, *chosen) for number in range(rounds + 1)]


def ideal_saving(densities: Sequence[float]) -> float:
    """The share of the prunable weights that rounds 1..R need not send, up and down together.

    1 - mean over t = 1..R of (d_t + d_{t-1}) / 2: up goes the round's new mask, down the one that
    the round begins with. Twenty rounds of 10 % to 50 % from round 2 on give 40.2 %.

    Args:
        densities: of rounds 0..R, R >= 1.
    """
    up, down = sum(densities[1:]), sum(densities[:-1])
    return 1 - (up + down) / (2 * (len(densities) - 1))
