"""The top of the page: what was run, how it stands, and the figures one asks for first."""

from fedklpr_flwr.report.page.figure_words import ABSENT, duration, fraction, megabytes, percent
from fedklpr_flwr.report.page.markup import Child, Markup, element
from fedklpr_flwr.report.run_report import RunReport
from fedklpr_flwr.report.summary import largest_epsilon, totals
from fedklpr_flwr.runs.label_health import labels_line
from fedklpr_flwr.runs.rows import Row
from fedklpr_flwr.wording import counted


def title_lines(run: RunReport, moment: str) -> list[Markup]:
    """The run's name, and what it is in one line."""
    keys = {
        "method.name": "method {}",
        "experiment_name": "experiment {}",
        "seed": "seed {}",
        "model.backbone": "{}",
    }
    said = [text.format(run.settings[key]) for key, text in keys.items() if key in run.settings]
    clients = len(run.by_client)
    if clients:
        said.append(counted(clients, "client"))
    said.append(f"rows up to {moment}" if moment else "no rows yet")
    return [element("h1", run.name), element("p", " · ".join(said), class_="what")]


def partial_note(run: RunReport) -> Markup | None:
    """What makes the page partial; None where all rounds are there."""
    if not run.remarks:
        return None
    items = [element("li", remark) for remark in run.remarks]
    return element("div", element("strong", "This report is partial:"), _list(items), class_="note")


def labels_note(run: RunReport) -> Markup | None:
    """Whose labels can teach little, and what helps; None where all are well."""
    said = labels_line(run.rows)
    return element("div", said[0].upper() + said[1:] + ".", class_="note") if said else None


def _list(items: list[Markup]) -> Markup:
    return element("ul", *items)


def figures(run: RunReport) -> Markup | None:
    """Mean Rank-1 and mAP, bytes against dense, the pruned share, rounds and time."""
    if not run.summaries:
        return None
    first, last = run.summaries[0], run.summaries[-1]
    sums = totals(run.rows)
    of = f" of {run.rounds}" if run.rounds is not None else ""
    seconds = sum(sum(row.seconds.values()) for row in run.summaries)
    unsent = bool(run.lacks("bytes_up", "bytes_down"))
    sent = "nothing would be sent dense"
    if unsent or run.lacks("bytes_dense"):
        sent = "not known"
    elif sums.dense:
        less = "less" if sums.saved >= 0 else "more"
        apart = megabytes(abs(sums.dense - sums.payload))
        sent = f"{apart} ({percent(abs(sums.saved))}) {less} than dense"
    return element(
        "div",
        *_accuracies(run, first, last),
        *([_epsilon(run)] if run.private else []),
        _figure(ABSENT if unsent else megabytes(sums.payload), "sent up and down", sent),
        _figure(
            ABSENT if run.lacks("pruned") else percent(last.pruned),
            "pruned",
            "not known" if run.lacks("pruned") else last.crr.replace("_", " ") or None,
        ),
        _figure(f"{last.round}{of}", "rounds merged", run.status),
        _figure(
            ABSENT if run.lacks("seconds") else duration(seconds),
            "time in rounds",
            "not known" if run.lacks("seconds") else _per_round(seconds, last.round),
        ),
        class_="figures",
    )


def _accuracies(run: RunReport, first: Row, last: Row) -> list[Markup]:
    if run.withheld(scores=True):
        return [_figure("withheld", "accuracy", "privacy=local_dp")]
    return [
        _figure(fraction(last.rank1), "mean Rank-1", _from(run, first, last, "rank1")),
        _figure(fraction(last.map), "mean mAP", _from(run, first, last, "map")),
    ]


def _epsilon(run: RunReport) -> Markup:
    """The largest epsilon of a site, or that none is told."""
    most, delta = largest_epsilon(run.rows), run.settings.get("privacy.delta")
    if most is None:
        sent = any(row.status == "merged" for rows in run.trained.values() for row in rows)
        said = "settings leak around the noise" if sent else "nothing was sent yet"
        return _figure(ABSENT, "epsilon", said)
    at = f" at delta {delta:g}" if isinstance(delta, float) else ""
    return _figure(f"{most:.3g}", "epsilon", f"the largest of a site{at}")


def _figure(value: str, of: str, said: Child) -> Markup:
    return element(
        "div",
        element("span", of),
        element("b", value),
        element("span", said, class_="of") if said is not None else None,
        class_="figure",
    )


def _from(run: RunReport, first: Row, last: Row, key: str) -> str | None:
    """The mean of round 0, and how many clients the last mean is of where some are missing."""
    began = getattr(first, key)
    if began is None or first.round == last.round:
        return None
    scored = [
        {row.round for row in rows if getattr(row, key) is not None}
        for rows in run.by_client.values()
    ]
    known, now = sum(map(bool, scored)), sum(last.round in rounds for rounds in scored)
    missing = "" if now == known else f"; of {now} of {known} clients"
    return f"from {fraction(began)}{missing}"


def _per_round(seconds: float, rounds: int) -> str | None:
    return f"{duration(seconds / rounds)} a round" if rounds else None
