"""What run.jsonl tells, a section each: accuracies, bytes, decisions, weights, time, failures."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from itertools import accumulate

from fedklpr_flwr.report.page.cell_charts import Cell, heat_map, stacked_bars
from fedklpr_flwr.report.page.chart_frame import SERIES
from fedklpr_flwr.report.page.client_rows import (
    decision_key,
    decision_of,
    recovery_timeline,
    timeline_top,
)
from fedklpr_flwr.report.page.figure_words import ABSENT
from fedklpr_flwr.report.page.line_chart import MEAN, Line, line_chart, styled
from fedklpr_flwr.report.page.markup import Child, Markup, element
from fedklpr_flwr.report.run_report import RunReport
from fedklpr_flwr.report.summary import HEADINGS, closing_lines, table
from fedklpr_flwr.runs.rows import Row
from fedklpr_flwr.wording import counted

NOBODY_PRUNES = "Nobody prunes: method.pruning=none."
_NAMED = 6
_PHASES = ("open", "label", "train", "measure", "prune", "encode", "send", "merge", "evaluate")


def section(title: str, said: str, *children: Child, wide: bool = False) -> Markup:
    """A card with a heading and a sentence on how to read it."""
    head = [element("h2", title), element("p", said, class_="said") if said else None]
    return element("section", *head, *children, class_="wide" if wide else None)


def few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def nothing(title: str, why: str, *, wide: bool = False) -> Markup:
    """A card that has nothing to show, and says why."""
    return section(title, "", element("p", why, class_="empty"), wide=wide)


def plain_table(
    headings: Sequence[str],
    lines: Sequence[Sequence[Child]],
    *,
    words: Container[int] = (),
    total: bool = False,
) -> Markup:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        headings: of the columns.
        lines: the cells.
        words: columns that stand at the left, as prose does.
        total: the last line is a sum.
    """

    def row(tag: str, line: Sequence[Child], kind: str | None = None) -> Markup:
        cells = (
            element(tag, cell, class_="words" if n in words else None)
            for n, cell in enumerate(line)
        )
        return element("tr", *cells, class_=kind)

    last = len(lines) - 1 if total else None
    body = [row("td", line, "total" if n == last else None) for n, line in enumerate(lines)]
    whole = element("table", element("thead", row("th", headings)), element("tbody", *body))
    return element("div", whole, class_="scroll")


def accuracy_section(run: RunReport) -> Markup:
    """Rank-1 of each client over the rounds."""
    title = "Accuracy of each client"
    named = [
        (name, [(float(row.round), row.rank1) for row in rows if row.rank1 is not None])
        for name, rows in run.by_client.items()
    ]
    lines = styled(named)
    if not lines:
        why = run.withheld(scores=True)
        why = why or "No round has a Rank-1: no site has both queries and a gallery."
        return nothing(title, why)
    said = "Rank-1 of each site's own model on people it never trained on; round 0 is the initial "
    said += "model."
    if unsearched := [name for name, points in named if not points]:
        said += f" Nobody can be searched for at {few(unsearched)}: see feature drift and clusters."
    if len(named) > SERIES:
        mean = tuple((float(r.round), r.rank1) for r in run.summaries if r.rank1 is not None)
        lines.append(Line("mean", mean, MEAN))
        said += " Named are the best, the worst and the mean; all figures stand in the table."
    chart = line_chart(title, lines, x_label="round", y_label="Rank-1", whole=True)
    return section(title, said, chart)


def bytes_section(run: RunReport) -> Markup:
    """Mean Rank-1 against all bytes sent so far, as they were and as dense float32."""
    title = "Accuracy against bytes"
    if why := run.lacks("bytes_up", "bytes_down", "bytes_dense"):
        return nothing(title, why)
    scored = [row.rank1 for row in run.summaries]
    real = list(accumulate(row.bytes_up + row.bytes_down for row in run.summaries))
    dense = list(accumulate(row.bytes_dense for row in run.summaries))
    if not any(score is not None for score in scored):
        return nothing(title, run.withheld(scores=True) or "No round has a Rank-1.")
    if not real[-1]:
        return nothing(title, "Nothing was sent.")
    lines = [
        Line(
            name, tuple((b / 1e6, s) for b, s in zip(sums, scored, strict=True) if s is not None), n
        )
        for n, name, sums in ((1, "as sent", real), (0, "if dense", dense))
    ]
    chart = line_chart(
        title, lines, x_label="MB sent so far, all clients, up and down", y_label="mean Rank-1"
    )
    said = "Payload bytes as really sent, and what dense float32 would have cost for the same "
    return section(title, said + "rounds.", chart)


def recovery_section(run: RunReport) -> Markup:
    """Pruned shares, CRR's accuracy and what it decided, client by client."""
    title = "Pruning and recovery"
    if not run.trained:
        return nothing(title, "No round was trained yet.")
    if why := run.lacks("pruned", "crr", "status", "idle"):
        return nothing(title, why)
    rule = run.settings.get("method.pruning")
    if rule == "none":
        return nothing(title, NOBODY_PRUNES)
    recovers = rule == "recovery"
    level = run.settings.get("crr.level") if recovers else None
    words = {decision_of(row) for rows in run.trained.values() for row in rows}
    said = "The shaded stairs are the pruned share, which stands at the right"
    if any(row.accuracy is not None for rows in run.trained.values() for row in rows):
        said += "; the line is the accuracy that CRR watches"
    said += f". From 0 to {timeline_top(run.trained):.1f}."
    if isinstance(level, float):
        said += f" Dotted: crr.level={level:g}."
    chart = recovery_timeline(title, run.trained, level if isinstance(level, float) else None)
    return section(title, said, decision_key(list(words)), chart)


def weights_section(run: RunReport) -> Markup:
    """How much each client's model weighed in each merge."""
    rule = str(run.settings.get("method.aggregation_weights", ""))
    title = "KLPWA weights" if rule == "klpwa" else "Aggregation weights"
    if not run.trained:
        return nothing(title, "Nothing was merged yet.")
    if why := run.lacks("weight", "status"):
        return nothing(title, why)
    rows = {name: {r.round: _weight(name, r) for r in found} for name, found in run.trained.items()}
    rounds = sorted({number for found in rows.values() for number in found})
    said = "A column adds up to 1; struck out is who was not merged."
    if rule and rule != "klpwa":
        said += f" method.aggregation_weights={rule}."
    if run.settings.get("pruning.masks") == "consensus":
        said += (
            " All clients share one mask (pruning.masks=consensus), so PRAW is the same for all."
        )
    most = max(cell.value or 0.0 for found in rows.values() for cell in found.values())
    said += f" The strongest colour is {most:.2f}."
    return section(title, said, heat_map(title, rows, rounds))


def _weight(name: str, row: Row) -> Cell:
    if row.status != "merged":
        return Cell(None, f"{name}, round {row.round}: {row.status}")
    of = f"KLAW {row.klaw:.3f}, PRAW {row.praw:.3f}" + ", idle: it trained nothing" * bool(row.idle)
    return Cell(row.weight, f"{name}, round {row.round}: {row.weight:.3f} ({of})")


def seconds_sections(run: RunReport) -> list[Markup]:
    """Where the time goes: the server's clock, and the clients' own."""
    server = {row.round: row.seconds for row in run.summaries if row.seconds}
    clients: dict[int, Counter[str]] = {}
    reported = Counter(r.round for rows in run.trained.values() for r in rows if r.seconds)
    for row in (row for rows in run.trained.values() for row in rows if row.seconds):
        shares = {phase: seconds / reported[row.round] for phase, seconds in row.seconds.items()}
        clients.setdefault(row.round, Counter()).update(shares)
    wall = (
        "By the server's clock; train and evaluate are the wait for all clients, sending included."
    )
    own = "What a client's own work takes, mean over those that reported."
    if any("send" in bar for bar in clients.values()):
        own += " send is the rest until its update was here: starting, the way there and back."
    return [
        _seconds("Seconds per phase, server", wall, server),
        _seconds("Seconds per phase, clients", own, clients, run.withheld()),
    ]


def _seconds(
    title: str, said: str, bars: Mapping[int, Mapping[str, float]], withheld: str = ""
) -> Markup:
    if not any(sum(bar.values()) > 0 for bar in bars.values()):
        return nothing(title, withheld or "No seconds were reported.")
    found = {phase for bar in bars.values() for phase in bar}
    phases = [*(p for p in _PHASES if p in found), *sorted(found - {*_PHASES})]
    said += " The bars are stacked from below in this order."
    return section(title, said, series_key(phases), stacked_bars(title, bars, phases))


def series_key(names: Sequence[str]) -> Markup:
    """Colours by name, in the order of the bars from below."""
    items = [
        element("li", element("span", class_=f"swatch s{n % SERIES}"), name)
        for n, name in enumerate(names)
    ]
    return element("ul", *items, class_="key")


def failures_section(run: RunReport) -> Markup:
    """Who was not merged, how often, and what was said."""
    title = "Failures by client"
    if not run.trained:
        return nothing(title, "No round was trained yet.", wide=True)
    if why := run.lacks("status", "failed"):
        return nothing(title, why, wide=True)
    bad = {
        name: rows
        for name, rows in run.by_client.items()
        if any(row.status != "merged" or row.failed for row in rows)
    }
    if not bad:
        said = f"None: all {len(run.by_client)} clients were merged in every round."
        one = "None: the one client was merged in every round."
        return section(title, said if len(run.by_client) > 1 else one, wide=True)
    lines = [_failures(name, rows) for name, rows in bad.items()]
    fine = len(run.by_client) - len(bad)
    rest = f"{counted(fine, 'other client')} merged in every round." if fine else ""
    headings = ("client", "merged", "failed", "late", "absent", "last reason")
    return section(title, rest, plain_table(headings, lines, words=(5,)), wide=True)


def _failures(name: str, rows: Sequence[Row]) -> list[Child]:
    # In round 0 nobody trains, and who was evaluated was not merged.
    count = Counter(row.status for row in rows if row.round or row.status != "merged")
    said = [f"round {row.round}: {row.failed}" for row in rows if isinstance(row.failed, str)]
    words = [count[word] for word in ("merged", "failed", "late", "absent")]
    return [name, *words, said[-1] if said else ABSENT]


_COLUMN_NEEDS = {
    4: ("clusters", "outliers"),
    5: ("pruned",),
    6: ("bytes_up",),
    7: ("bytes_down",),
    8: ("failed",),
}
"""Columns of the final table, and the keys without which they are unknown."""


def clients_section(run: RunReport) -> Markup:
    """The final table, and what the run cost."""
    if not run.rows:
        return nothing("Clients", "No round is told of yet.", wide=True)
    unknown = [number for number, keys in _COLUMN_NEEDS.items() if run.lacks(*keys)]
    lines = [
        [ABSENT if n in unknown else cell.replace("->", "→") for n, cell in enumerate(line)]
        for line in table(run.rows)
    ]
    why = run.lacks("bytes_up", "bytes_down", "bytes_message_up", "bytes_dense", "bytes_paper")
    said = [why] if why else closing_lines(run.rows)
    closing = [element("p", line, class_="small") for line in said]
    shown = plain_table(HEADINGS, lines, total=True)
    return section("Clients", "From round 0 to the last round.", shown, *closing, wide=True)
