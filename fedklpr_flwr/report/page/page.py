"""The whole page: one file that asks for nothing outside of itself."""

from fedklpr_flwr.report.page.density_section import density_section
from fedklpr_flwr.report.page.figure_words import ABSENT, fraction, megabytes, percent
from fedklpr_flwr.report.page.headline import figures, labels_note, partial_note, title_lines
from fedklpr_flwr.report.page.markup import Child, Markup, element
from fedklpr_flwr.report.page.ranked_section import ranked_section
from fedklpr_flwr.report.page.sections import (
    accuracy_section,
    bytes_section,
    clients_section,
    failures_section,
    nothing,
    plain_table,
    recovery_section,
    seconds_sections,
    weights_section,
)
from fedklpr_flwr.report.page.style import STYLE
from fedklpr_flwr.report.page.unsupervised import clusters_section, drift_section
from fedklpr_flwr.report.page.weeks import weeks_section
from fedklpr_flwr.report.run_report import RunReport
from fedklpr_flwr.report.site_inspection import Seen
from fedklpr_flwr.runs.rows import Row

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may fetch for the page: nothing but what is in it."""


def whole_page(run: RunReport, seen: Seen, *, moment: str = "", refresh: int | None = None) -> str:
    """The report of a run as HTML.

    Args:
        run: what its folder tells.
        seen: what its pictures show.
        moment: when the rows were written, in words; empty = there are none.
        refresh: seconds after which a browser asks again; None = never.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", http_equiv="refresh", content=refresh) if refresh else None,
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{run.name} · fedklpr"),
        element("style", Markup(STYLE)),
    )
    body = element("body", element("main", *_parts(run, seen, moment)))
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def _parts(run: RunReport, seen: Seen, moment: str) -> list[Markup | None]:
    notes = (_people_note(seen), partial_note(run), labels_note(run))
    head = [*title_lines(run, moment), *notes, figures(run)]
    if not run.summaries:
        why = "No round is told of."
        if run.status == "running":
            why = "No round is told of yet: figures and charts come with the first."
        return [*head, nothing("Rounds", why, wide=True), _settings(run)]
    cards = (
        accuracy_section(run),
        drift_section(run),
        bytes_section(run),
        recovery_section(run),
        weights_section(run),
        *seconds_sections(run),
        density_section(run),
    )
    wide = (
        weeks_section(run),
        clusters_section(run, seen),
        failures_section(run),
        clients_section(run),
        ranked_section(seen),
    )
    return [
        *head,
        element("div", *cards, class_="cards"),
        *wide,
        _rounds(run),
        _settings(run),
    ]


def _people_note(seen: Seen) -> Markup | None:
    if not seen.shows_people:
        return None
    said = (
        "This page holds pictures of people from the sites' test sets: keep it where they may be."
    )
    return element("p", said, class_="small")


def _rounds(run: RunReport) -> Markup | None:
    """The figures behind the curves."""
    if not run.summaries:
        return None
    headings = ("round", "Rank-1", "mAP", "pruned", "up", "down", "dense", "clients", "decisions")
    keys = ("pruned", "bytes_up", "bytes_down", "bytes_dense", "status", "crr")
    unknown = [3 + place for place, key in enumerate(keys) if run.lacks(key)]
    lines = [
        [ABSENT if place in unknown else cell for place, cell in enumerate(_round(row))]
        for row in run.summaries
    ]
    return _folded("All rounds", plain_table(headings, lines, words=(8,)))


def _round(row: Row) -> list[Child]:
    return [
        row.round,
        fraction(row.rank1),
        fraction(row.map),
        percent(row.pruned),
        megabytes(row.bytes_up),
        megabytes(row.bytes_down),
        megabytes(row.bytes_dense),
        row.status,
        row.crr,
    ]


def _settings(run: RunReport) -> Markup | None:
    if not run.settings:
        return None
    lines = [(key, "null" if value is None else str(value)) for key, value in run.settings.items()]
    return _folded("All settings", plain_table(("key", "value"), lines, words=(1,)))


def _folded(title: str, content: Markup) -> Markup:
    return element("details", element("summary", title), content, class_="card")
