"""`fedklpr plan`: what a run will cost, before it is started."""

import json
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fedklpr_flwr.commands.run import Overrides
from fedklpr_flwr.planning.forecast import ClientForecast, Forecast, too_few_pictures
from fedklpr_flwr.planning.plan import Planned, plan_run
from fedklpr_flwr.wording import counted, named

ENGINE_STARTS = 6.0
"""What `fedklpr run` takes besides its rounds, in starts of a process that imports what a client
needs: Flower starts a SuperLink, builds the app, starts Ray, and ends all of it. Measured on two
cores: 27 s where such a start takes 4 to 5 s, 100 s on a busy machine where it takes 16."""

_SHOWN = 24
_QUIET = 0.85
"""A client that has so much of its core runs as if it were alone."""
_HEADINGS = (
    *("train\npics", "test\npics", "steps", "label\ns", "train\ns", "test\ns"),
    *("other\ns", "first\nMB", "last\nMB", "RAM\nMB", "pics\nMB"),
)
_PHASES = ("label", "train", "evaluate", "other")


def plan(
    overrides: Overrides = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="plan for so many cores; default: this machine's")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead")] = False,
) -> None:
    """Estimate a run's hours, megabytes and memory from a round in miniature on this machine.

    Pictures are counted, one client's round is done with a few of them, and multiplied out.
    Takes ten seconds on a quiet machine where the run is small, some minutes for a ResNet-50
    without a GPU.

    Example: fedklpr plan experiment=real_small data.root=/sets federation.rounds=20
    """
    console = Console(stderr=True)
    with console.status("counting pictures") as status:

        def say(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                print(f"plan: {text} ...", file=console.file, flush=True)

        planned = plan_run(overrides or [], cores=cores, say=say)
    if as_json:
        print(json.dumps(_values(planned), indent=1))
        return
    out = Console()
    out.print(_table(planned))
    for sentence in _sentences(planned):
        out.print(sentence, highlight=False)


def run_seconds(planned: Planned) -> float:
    """Seconds of `fedklpr run`, and of a sweep's job: Flower's start and end included."""
    return engine_seconds(planned) + planned.together.seconds


def engine_seconds(planned: Planned) -> float:
    """Seconds that Flower takes to start and to end on this machine."""
    return ENGINE_STARTS * planned.alone.probed.start


# ---------------------------------------------------------------------------- in words


def _table(planned: Planned) -> Table:
    settings, forecast = planned.settings, planned.together
    rounds = settings.federation.rounds
    what = f"{settings.experiment}, method {settings.method.name}, {counted(rounds, 'round')}"
    title = f"{what}: an estimate"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    shown.add_column("client", overflow="fold")
    for heading in _HEADINGS:
        shown.add_column(heading, justify="right")
    sent = [f"{sum(forecast.bytes_in_round(n)) / 1e6:.2f}" for n in (1, rounds)]
    for one in forecast.clients[:_SHOWN]:
        shown.add_row(*_cells(one, sent))
    more = len(forecast.clients) - _SHOWN
    if more > 0:
        shown.add_row(f"and {more} more")
    return shown


def _cells(one: ClientForecast, sent: list[str]) -> list[str]:
    load = one.load
    return [
        load.name,
        *(str(count) for count in (load.train, load.query + load.gallery, one.batches)),
        *(f"{one.seconds[phase]:.1f}" for phase in _PHASES),
        *sent,
        f"{one.ram_mb:.0f}",
        f"{one.pictures_mb:.0f}",
    ]


def _sentences(planned: Planned) -> list[str]:
    forecast, probed = planned.together, planned.together.probed
    lines = [
        "Steps, seconds, MB sent (up + down, in the first and the last round) and RAM are a "
        "client's in one round; its pictures are memory-mapped: the system may have that back.",
        f"time: fedklpr run {duration(run_seconds(planned))}, {planned.at_once} side by side, "
        f"threads {planned.settings.training.threads}; fedklpr simulate "
        f"{duration(planned.alone.seconds)}",
    ]
    if forecast.final_seconds:
        lines.append(f"  of it {duration(forecast.final_seconds)} after the last merge")
    lines += filter(None, [busy_line(planned), labels_line(planned)])
    gpu = f", {probed.gpu_mb:.0f} MB on the GPU" if probed.gpu_mb else ""
    return [
        *lines,
        _sent_line(planned),
        _memory_line(planned),
        f"measured here: a step {probed.step:.3f} s, {1 / probed.picture:.0f} pictures/s looked "
        f"at, peak memory of that process {probed.peak_mb:.0f} MB{gpu}",
        "assumed: every picture in a cluster (fewer are fewer batches), "
        f"{duration(engine_seconds(planned))} for Flower to start and end; the first run also "
        f"decodes all pictures, {duration(planned.decoding)}",
    ]


def labels_line(planned: Planned) -> str:
    """Whose pictures are too few for the neighbours asked for; empty where nobody's are."""
    loads = [one.load for one in planned.together.clients]
    few = too_few_pictures(loads, planned.settings)
    if not few:
        return ""
    who = named([f"{load.name} ({counted(load.train, 'picture')})" for load in few])
    chosen = planned.settings.labels
    asked = f"k1={chosen.k1}"
    if chosen.neighbours == "by_camera":
        asked = f"k1_within={chosen.k1_within} and k1_across={chosen.k1_across}"
    return (
        f"labels: {who} may fall into one cluster, with labels.{asked} neighbours: smaller "
        "ones are likely to do better (docs/own-pictures.md)"
    )


def busy_line(planned: Planned) -> str:
    """What the time would be on a quiet machine, where this one had other things to do."""
    core = planned.together.probed.core
    if core > _QUIET or planned.settings.training.threads > 1 or planned.together.probed.gpu_mb:
        return ""  # several threads wait for each other, and for a GPU, on a quiet machine too
    quiet = core * run_seconds(planned)
    return (
        f"  this machine is busy, a client had {core:.0%} of a core: on a quiet one fedklpr run "
        f"would take at most about {duration(quiet)}"
    )


def _sent_line(planned: Planned) -> str:
    forecast = planned.together
    least, most = (sum(forecast.bytes_in_all(pruned=pruned)) / 1e6 for pruned in (True, False))
    pruned = planned.settings.method.pruning != "none"
    why = ", the less, the more prunes are made" if pruned else ""
    dense = forecast.dense_bytes / 1e6
    return f"sent: {least:.1f} to {most:.1f} MB{why}; dense float32 {dense:.1f} MB"


def _memory_line(planned: Planned) -> str:
    needed = needed_mb(planned)
    words = f"memory: {needed:.0f} MB for {planned.at_once} side by side"
    if planned.free_mb is None:
        return words
    words += f", {planned.free_mb:.0f} MB are free"
    if needed < planned.free_mb:
        return words
    if not planned.fits:
        words += " (so times are of one client alone)"
    return f"{words}: too little; fewer run at once with a larger training.threads"


def needed_mb(planned: Planned) -> float:
    """Memory of the largest clients that may run side by side."""
    sizes = sorted((one.ram_mb for one in planned.together.clients), reverse=True)
    return sum(sizes[: planned.at_once])


def duration(seconds: float) -> str:
    """Seconds as a person says them: 12 s, 3 min, 2.5 h, 4.1 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


# ---------------------------------------------------------------------------- as JSON


def _values(planned: Planned) -> dict[str, Any]:
    forecast, rounds = planned.together, planned.settings.federation.rounds
    first, last = (sum(forecast.bytes_in_round(number)) / 1e6 for number in (1, rounds))
    return {
        "experiment": planned.settings.experiment,
        "method": planned.settings.method.name,
        "rounds": rounds,
        "clients": [_client_values(one, forecast, first, last) for one in forecast.clients],
        "total": {
            "hours_run": run_seconds(planned) / 3600,
            "hours_simulate": planned.alone.seconds / 3600,
            "round_seconds": forecast.round_seconds,
            "mb_no_prune_held": sum(forecast.bytes_in_all()) / 1e6,
            "mb_all_prunes_held": sum(forecast.bytes_in_all(pruned=False)) / 1e6,
            "mb_dense": forecast.dense_bytes / 1e6,
            "ram_mb": needed_mb(planned),
            "seconds_decoding_once": planned.decoding,
        },
        "machine": {"side_by_side": planned.at_once, "free_mb": planned.free_mb},
        "measured": {**vars(forecast.probed)},
    }


def _client_values(
    one: ClientForecast, forecast: Forecast, first: float, last: float
) -> dict[str, Any]:
    load = one.load
    return {
        "name": load.name,
        "pictures": {"train": load.train, "query": load.query, "gallery": load.gallery},
        "batches": one.batches,
        "seconds": one.seconds,
        "mb_first": first,
        "mb_last": last,
        "ram_mb": one.ram_mb,
        "pictures_mb": one.pictures_mb,
    }
