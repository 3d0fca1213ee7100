"""How long local training goes on, and how fast: in a round, and in the final fine-tuning."""

from collections.abc import Callable
from dataclasses import dataclass

from fedklpr_flwr.config.round_overrides import settings_in_round
from fedklpr_flwr.config.settings import Settings, Training

_WARMUP_START = 0.01
_FINAL_DROP = 0.1


@dataclass(frozen=True)
class Plan:
    """The local epochs to come.

    Attributes:
        settings: the settings as they hold in that round.
        round_number: the round they belong to, 1..R.
        epochs: the most there will be.
        rate: the learning rate of an epoch, 1..epochs.
        stream: the name of their random numbers.
        precision: training ends with an epoch whose accuracy is above this, or whose last batch
            is all right; None = never before the last epoch.
    """

    settings: Settings
    round_number: int
    epochs: int
    rate: Callable[[int], float]
    stream: str
    precision: float | None = None

    def ends_after(self, epoch: int, accuracy: float, last_accuracy: float) -> bool:
        """Whether an epoch is the last, by its number or by its accuracies."""
        if epoch >= self.epochs:
            return True
        return self.precision is not None and (accuracy > self.precision or last_accuracy == 1.0)


def round_plan(settings: Settings, round_number: int) -> Plan:
    """The local training of a round.

    Source: FedCAPR's code for the drop; FedUReID's (dynamic_epoch) for the early end, from its
        second round on.
    """
    settings = settings_in_round(settings, round_number)
    chosen, early = settings.training, settings.early_stop
    rate = _round_rate(chosen, round_number)
    return Plan(
        settings,
        round_number,
        chosen.epochs,
        lambda epoch: rate,
        stream=str(round_number),
        precision=early.precision if round_number >= early.from_round else None,
    )


def final_plan(settings: Settings, round_number: int) -> Plan:
    """The long fine-tuning after the last merge (`training.final_epochs`).

        rate(e) = learning_rate * final_factor * warm(e) * 0.1^(drops passed)
        warm(e) = 0.01 + 0.99 (e - 1) / final_warmup   up to epoch final_warmup, then 1

    Args:
        settings: the run's settings.
        round_number: the last round.

    Source: FedCAPR's code: 50 epochs, warm-up over 5, drops at 20 and 40, base rate 3.5e-5.
    """
    settings = settings_in_round(settings, round_number)
    chosen = settings.training
    base = chosen.learning_rate * chosen.final_factor

    def rate(epoch: int) -> float:
        done = (epoch - 1) / chosen.final_warmup if epoch <= chosen.final_warmup else 1.0
        warm = _WARMUP_START + (1 - _WARMUP_START) * done
        return base * warm * _FINAL_DROP ** sum(epoch > drop for drop in chosen.final_drops)

    return Plan(settings, round_number, chosen.final_epochs or 0, rate, stream="final")


def _round_rate(chosen: Training, round_number: int) -> float:
    dropped = chosen.lr_drop_round is not None and round_number >= chosen.lr_drop_round
    return chosen.learning_rate * (chosen.lr_drop_factor if dropped else 1.0)
