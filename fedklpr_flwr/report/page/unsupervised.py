"""What can be told without a single name: feature drift, clusters, and who found none."""

from collections.abc import Sequence

from fedklpr_flwr.report.page.client_rows import cluster_line
from fedklpr_flwr.report.page.figure_words import ABSENT, fraction
from fedklpr_flwr.report.page.line_chart import line_chart, styled
from fedklpr_flwr.report.page.markup import Child, Markup
from fedklpr_flwr.report.page.sections import few, nothing, plain_table, section
from fedklpr_flwr.report.run_report import RunReport
from fedklpr_flwr.report.site_inspection import Seen
from fedklpr_flwr.runs.rows import Row


def drift_section(run: RunReport) -> Markup:
    """How far each client's training moved its features, round by round."""
    title = "Feature drift of each client"
    named = [
        (name, [(float(r.round), r.cosine_distance) for r in rows if r.cosine_distance is not None])
        for name, rows in run.trained.items()
    ]
    lines = styled(named)
    if not lines:
        why = "No round tells of it: nothing was trained, or rows are older."
        return nothing(title, run.withheld() or why)
    said = (
        "How far local training moved the features of 32 of a site's pictures, mean 1 - cosine. "
        "It needs no labels: who stands still learns nothing, who jumps may have lost its way."
    )
    return section(
        title, said, line_chart(title, lines, x_label="round", y_label="drift", whole=True)
    )


def clusters_section(run: RunReport, seen: Seen) -> Markup:
    """Clusters found in the last round beside the persons who are really there."""
    title = "Clusters and persons"
    if why := run.withheld() or run.lacks("clusters", "outliers", "idle", "status"):
        return nothing(title, why, wide=True)
    merged = {n: [r for r in rows if r.status == "merged"] for n, rows in run.trained.items()}
    merged = {name: rows for name, rows in merged.items() if rows}
    idle = [name for name, rows in merged.items() if rows[-1].idle]
    if not idle and not any(row.clusters for rows in merged.values() for row in rows):
        why = "Nothing was clustered: labels are given, or no round was trained."
        return nothing(title, why, wide=True)
    lines = [_clusters(name, rows, seen.persons(name)) for name, rows in merged.items()]
    headings = (
        *("client", "over the rounds", "clusters", "persons", "outliers"),
        *("spanning cameras", "pairs split", "precision", "recall", "drift", "idle rounds"),
    )
    said = (
        "Pseudo-labels of the last merged round. Dotted: the true persons, where the pictures can "
        "be read from here. Spanning cameras: the share of clustered pictures whose cluster more "
        "than one camera sees, known without labels; near 0, cameras are learnt and not people. "
        "Where persons are known: pairs split, the share of a person's pairs across cameras that "
        "lie in two clusters; precision and recall, of all pairs of pictures. "
        "An idle client found no cluster: it trained nothing and weighed nothing."
    )
    if idle:
        said += f" Idle in the last round: {few(idle)}."
    return section(title, said, plain_table(headings, lines, words=(1,)), wide=True)


def _clusters(name: str, rows: Sequence[Row], persons: int | None) -> list[Child]:
    last, idle = rows[-1], sum(bool(row.idle) for row in rows)
    counts = [(row.round, row.clusters or 0) for row in rows]
    return [
        name,
        cluster_line(f"clusters of {name}", counts, persons),
        "idle" if last.idle else last.clusters,
        ABSENT if persons is None else persons,
        last.outliers,
        fraction(last.camera_span),
        fraction(last.camera_split),
        fraction(last.cluster_precision),
        fraction(last.cluster_recall),
        fraction(last.cosine_distance),
        f"{idle} of {len(rows)}",
    ]
