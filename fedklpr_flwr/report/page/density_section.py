"""The section that needs masks: what the clients keep of each layer."""

from fedklpr_flwr.report.page.cell_charts import density_bars
from fedklpr_flwr.report.page.figure_words import percent
from fedklpr_flwr.report.page.markup import Markup
from fedklpr_flwr.report.page.sections import NOBODY_PRUNES, nothing, section
from fedklpr_flwr.report.run_report import RunReport


def density_section(run: RunReport) -> Markup:
    """How much of each layer the clients keep."""
    title = "Density of the final model by layer"
    density = run.density
    if run.faulty:
        return nothing(title, run.faulty)
    if run.settings.get("method.pruning") == "none":
        return nothing(title, NOBODY_PRUNES)
    if density is None or not density.layers:
        return nothing(title, "No clients/NAME/mask.safetensors is in this folder.")
    said = (
        f"Bars: what a client keeps, mean of {density.clients}; whiskers: the sparsest and the "
        f"densest client; pale: what at least one keeps. Over all prunable weights a client keeps "
        f"{percent(density.over_all('mean'))}, and {percent(density.over_all('held'))} is kept by "
        "at least one."
    )
    if density.dense is not None:
        said += f" {density.dense:,} more numbers are never pruned."
    return section(title, said, density_bars(title, density.layers))
