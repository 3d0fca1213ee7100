"""The run beside those that it continues: a line each, and what stands out."""

from fedklpr_flwr.report.page.markup import Markup, element
from fedklpr_flwr.report.page.sections import plain_table, section
from fedklpr_flwr.report.run_report import RunReport
from fedklpr_flwr.report.week_by_week import HEADINGS, SAID


def weeks_section(run: RunReport) -> Markup | None:
    """A table of the runs that lead to this one; None where it continues no other."""
    chain = run.chain
    if not chain.is_chain:
        return None
    notes = [
        element("div", element("strong", "Alarm: "), f"{sentence}.", class_="note")
        for sentence in chain.alarms()
    ]
    rest = [element("p", chain.remark, class_="small")] if chain.remark else []
    shown = plain_table(HEADINGS, chain.cells, words=(0,))
    return section("Run after run", SAID, *notes, shown, *rest, wide=True)
