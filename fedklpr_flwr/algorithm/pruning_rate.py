"""How large the next prune is, by how much is pruned already, and what a schedule comes to."""

import math

from fedklpr_flwr.errors import SettingsError

SCHEDULES = ("geometric", "cubic")


def next_rate(ratio: float, schedule: str, rate: float, target: float) -> float:
    """Gives the share of the surviving weights that the next prune takes.

        geometric:  rate                                  a tenth of what is left, and again
        cubic:      (s' - p) / (1 - p),  s(x) = target (1 - (1 - x)^3)

    On the cubic curve p stands at x = 1 - (1 - p / target)^(1/3), and a prune moves x by one n-th,
    where n is the number of prunes that the geometric schedule needs to the target: most goes in
    the first prunes, and more rounds are left to heal.

    Args:
        ratio: p, pruned so far, in [0, 1).
        schedule: one of SCHEDULES.
        rate: of the geometric schedule, in [0, 1).
        target: the pruning ratio at the end, in [0, 1).

    Returns:
        In [0, 1); of a cubic schedule 0 from the target on, and where rate or target is 0.

    Raises:
        SettingsError: an unknown schedule.

    Source: Zhu and Gupta 2017 (cubic, by step number; by the present ratio here, so that recovery's
        pauses shift it).
    """
    if schedule not in SCHEDULES:
        raise SettingsError(f"pruning.schedule must be one of {SCHEDULES}, it is {schedule!r}")
    if schedule == "geometric":
        return rate
    if rate == 0 or target == 0 or ratio >= target:
        return 0.0
    prunes = math.ceil(math.log(1 - target) / math.log(1 - rate))
    left = max(0.0, (1 - ratio / target) ** (1 / 3) - 1 / prunes)
    # Rounding leaves a hair above nothing after the last prune.
    reached = target if left < 1e-6 else target * (1 - left**3)
    return (reached - ratio) / (1 - ratio)


def density_after(
    rounds: int, rate: float, target: float, first_round: int, schedule: str = "geometric"
) -> float:
    """Gives the share of weights that a schedule without pauses has left after so many rounds.

        d_t = max(1 - target, (1 - r_t) d_{t-1})   from first_round on, r_t of `next_rate`

    Args:
        rounds: t, >= 0.
        rate: of `next_rate`.
        target: the share pruned at the end, in [0, 1).
        first_round: the first round that prunes.
        schedule: geometric or cubic.

    Returns:
        In (0, 1]; 1 before first_round.
    """
    density = 1.0
    for _ in range(first_round, rounds + 1):
        density = max(1 - target, density * (1 - next_rate(1 - density, schedule, rate, target)))
    return density
