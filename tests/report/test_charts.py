"""Claims about the report's markup and charts: escaped, within their frame, nothing on another."""

import re
from itertools import pairwise

import pytest

from fedklpr_flwr.report.page.cell_charts import Cell, heat_map, stacked_bars
from fedklpr_flwr.report.page.chart_frame import SERIES, WIDTH, Frame, mark, ticks
from fedklpr_flwr.report.page.client_rows import DECISIONS, recovery_timeline
from fedklpr_flwr.report.page.figure_words import duration, megabytes, percent, shortened
from fedklpr_flwr.report.page.line_chart import MANY, line_chart, spread, styled
from fedklpr_flwr.report.page.markup import element
from fedklpr_flwr.runs.rows import Row


def test_text_and_attributes_are_escaped_and_markup_is_not():
    inner = element("b", "a<b")
    made = element("p", inner, '"&"', class_='x" onclick="y', title=None)
    assert made == ('<p class="x&quot; onclick=&quot;y"><b>a&lt;b</b>&quot;&amp;&quot;</p>')


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.0, 47.0, [0, 10, 20, 30, 40, 50])],
)
def test_ticks_are_round_and_reach_around_the_values(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_of_rounds_are_whole_however_few_there_are():
    assert ticks(0, 2, 7, whole=True) == [0, 1, 2]
    assert ticks(3, 3, 7, whole=True) == [3, 4]


def test_a_frame_turns_values_into_places_and_a_single_value_into_the_middle():
    frame = Frame(10, 110, 0, 50, 0, 4, 0, 2)
    assert (frame.x(1), frame.y(2), frame.y(0)) == (35, 0, 50)
    assert Frame(10, 110, 0, 50, 3, 3, 0, 2).x(3) == 60


@pytest.mark.parametrize("wished", [[5, 5, 5, 5], [90, 95, 99, 99], [0, 50, 51, 100]])
def test_names_at_line_ends_keep_their_distance_and_stay_inside(wished):
    found = spread(wished, 0, 100)
    assert all(below - above >= 14 - 1e-9 for above, below in pairwise(found))
    assert found[0] >= 0
    assert found[-1] <= 100


def test_names_with_room_stay_where_their_lines_end():
    assert spread([10, 40, 80], 0, 100) == [10, 40, 80]


def test_as_many_names_as_there_are_signs_have_each_their_own():
    lines = styled([(f"c{n}", [(0.0, n / 10)]) for n in range(SERIES)])
    assert [line.style for line in lines] == list(range(SERIES))
    assert len({mark(n, 0, 0, "s0") for n in range(SERIES)}) == SERIES
    more = styled([(f"c{n}", [(0.0, n / 10)]) for n in range(SERIES + 1)])
    assert [line.name for line in more if line.style != MANY] == ["c0", "c8"]


def test_decisions_are_told_apart_without_colour():
    assert len({(shape, kind) for shape, kind, _ in DECISIONS.values()}) == len(DECISIONS)
    shapes = [shape for word, (shape, _, _) in DECISIONS.items() if word != "off"]
    assert len(set(shapes)) == len(shapes)


def test_a_line_of_zeros_and_a_line_of_one_point_are_charts():
    chart = line_chart("x", styled([("a", [(0.0, 0.0)])]), x_label="round", y_label="y", whole=True)
    assert "nan" not in chart
    assert "a 0" in chart


def test_a_bar_is_as_high_as_its_seconds():
    chart = stacked_bars("x", {1: {"train": 3.0, "merge": 1.0}}, ["train", "merge"])
    heights = [float(h) for h in re.findall(r'height="([\d.]+)" class="bar', chart)]
    assert heights[0] / heights[1] == pytest.approx(3, rel=0.01)


def test_the_largest_weight_has_the_strongest_colour_and_none_is_struck_out():
    cells = {"a": {1: Cell(0.75, "most"), 2: Cell(None, "late")}, "b": {1: Cell(0.25, "less")}}
    chart = heat_map("x", cells, [1, 2])
    shades = [float(shade) for shade in re.findall(r'class="heat" fill-opacity="([\d.]+)"', chart)]
    assert shades == [0.92, 0.35]
    assert chart.count('class="struck"') == 1
    assert ">.75<" in chart


def test_the_stairs_of_pruning_show_the_last_round_too():
    rows = [Row(1, "a", accuracy=0.5, pruned=0.0), Row(2, "a", accuracy=0.5, pruned=1.0)]
    chart = recovery_timeline("x", {"a": rows}, None)
    (stairs,) = re.findall(r'<path d="([^"]*)" class="pruned-area"', chart)
    points = [tuple(map(float, point.split())) for point in re.findall(r"[\d.]+ [\d.]+", stairs)]
    top = min(y for _, y in points)
    first, last = (x for x, y in points if y == top)
    assert last - first == pytest.approx((WIDTH - 46 - points[0][0]) / 2, abs=0.2)


def test_figures_are_written_as_readers_want_them():
    assert [percent(v) for v in (0.0, 0.034, 0.41, None)] == ["0%", "3.4%", "41%", "–"]
    assert [duration(s) for s in (3.21, 42, 133, 683, 7260)] == [
        "3.2 s",
        "42 s",
        "2 min 13 s",
        "11 min",
        "2 h 1 min",
    ]
    assert [megabytes(b) for b in (1_550_000, 2_400_000_000)] == ["1.6 MB", "2,400 MB"]
    assert shortened("a-long-name", 6) == "a-l…me"
