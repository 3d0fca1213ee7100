"""Claims about fedklpr_flwr.report.comparison: how runs are grouped, labelled and set in order."""

import json
import time

import pytest
from run_folders import scores, write_run
from typer.testing import CliRunner

from fedklpr_flwr.commands.__main__ import app
from fedklpr_flwr.errors import RunError, SettingsError
from fedklpr_flwr.report.comparison import compare_folders
from fedklpr_flwr.report.comparison_text import comparison_csv
from fedklpr_flwr.report.run_figures import figures_of
from fedklpr_flwr.runs.run_config_file import counted_seconds
from fedklpr_flwr.runs.run_record import read_run


def compared(tmp_path, *runs):
    """Compare runs, each (overrides, keywords)."""
    for number, (overrides, how) in enumerate(runs):
        write_run(tmp_path / f"run-{number}", *overrides, **how)
    return compare_folders([tmp_path])


def test_a_runs_figures_are_the_last_accuracies_and_all_bytes(tmp_path):
    found = figures_of(read_run(write_run(tmp_path / "run")))
    assert (found.rank1, found.map) == (pytest.approx(0.6), pytest.approx(0.3))
    # two clients: 1 MB down in each of two rounds, 2 MB up in one; dense 4 MB, paper 3 MB a round
    assert (found.mb_up, found.mb_down, found.mb_dense, found.mb_paper) == (4.0, 4.0, 16.0, 12.0)
    assert (found.saved, found.saved_paper) == (0.5, 0.25)
    assert (found.pruned, found.seconds) == (0.25, 6.0)
    assert found.rank1_final is None


def test_seconds_are_those_of_the_whole_job_where_they_were_counted(tmp_path):
    folder = write_run(tmp_path / "run", commits=["abc1234"])
    for _ in range(2):  # a run that was resumed
        with counted_seconds(folder):
            time.sleep(0.06)
    assert figures_of(read_run(folder)).seconds == pytest.approx(0.2, abs=0.1)
    begun = json.loads((folder / "run-config.json").read_text())
    for damage in ("long", True, -1, None):
        (folder / "run-config.json").write_text(json.dumps(begun | {"seconds": damage}))
        assert figures_of(read_run(folder)).seconds == 6.0


def test_runs_that_differ_only_in_the_seed_are_one_line(tmp_path):
    comparison = compared(
        tmp_path,
        (("seed=1",), {"rank1": scores(0.6, 0.8)}),
        (("seed=0", "data.cache=/elsewhere", "federation.wait_seconds=3"), {}),
    )
    (group,) = comparison.groups
    assert (group.label, group.seeds) == ("fedklpr", [0, 1])
    assert group.spread("rank1").mean == pytest.approx(0.65)
    assert group.spread("rank1").deviation == pytest.approx(0.1 / 2**0.5)
    assert group.client_by_seed("birch", "rank1") == {0: 0.7, 1: 0.8}
    assert comparison.notes == ()


@pytest.mark.slow
def test_lines_of_one_method_are_told_apart_by_what_differs_and_others_by_the_method(tmp_path):
    comparison = compared(
        tmp_path,
        (("method=lotteryfl",), {"rank1": scores(0.1, 0.1)}),
        (("method=lotteryfl", "pruning.rewind=false"), {"rank1": scores(0.2, 0.2)}),
        (("pruning.rate=0.2", "crr.rollback=true"), {"rank1": scores(0.3, 0.3)}),
        (("pruning.rate=0.1",), {"rank1": scores(0.4, 0.4)}),
        (("method=fedavg",), {"rank1": scores(0.5, 0.5)}),
    )
    assert [group.label for group in comparison.groups] == [
        "fedavg",
        "fedklpr, crr.rollback=false, pruning.rate=0.1",
        "fedklpr, crr.rollback=true, pruning.rate=0.2",
        "lotteryfl, pruning.rewind=false",
        "lotteryfl, pruning.rewind=true",
    ], "from the best down"


@pytest.mark.slow
def test_ablations_are_told_apart_by_their_experiments(tmp_path):
    comparison = compared(
        tmp_path,
        ((), {"experiment": "drawn"}),
        ((), {"experiment": "drawn_without_kll", "rank1": scores(0.1, 0.1)}),
    )
    assert [g.label for g in comparison.groups] == [
        "fedklpr (drawn)",
        "fedklpr (drawn_without_kll)",
    ]
    assert any("experiment_name differs" in note for note in comparison.notes)


def test_the_same_run_twice_counts_once(tmp_path):
    comparison = compared(tmp_path, ((), {}), ((), {"rank1": scores(0.9, 0.9)}))
    (group,) = comparison.groups
    assert group.spread("rank1").seeds == 1
    (left,) = comparison.left_out
    assert left.folder.name == "run-1"
    assert "the same run as" in left.why


def test_runs_of_other_sites_are_refused_with_both_names(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", names=("ash", "cedar"))
    with pytest.raises(SettingsError, match=r"different data.*ash, birch.*ash, cedar"):
        compare_folders([tmp_path])


@pytest.mark.slow
def test_what_makes_figures_less_comparable_is_said(tmp_path):
    three = (*scores(0.5, 0.5), {"ash": 0.5, "birch": None})
    comparison = compared(
        tmp_path,
        ((), {}),
        (("method=fedavg", "seed=4"), {"rank1": three}),
        (("method=centralised",), {"rank1": ({"joined": 0.1}, {"joined": 0.9})}),
    )
    text = "\n".join(comparison.notes)
    assert "federation.rounds differs" in text
    assert "the seeds differ: " in text
    assert "4 (fedavg)" in text
    assert "run-1: the last round has no score of birch" in text
    assert "centralised pools the pictures" in text


def test_pooled_pictures_have_no_site_of_their_own_and_send_nothing(tmp_path):
    comparison = compared(
        tmp_path, (("method=centralised",), {"rank1": ({"joined": 0.1}, {"joined": 0.9})}), ((), {})
    )
    pooled, fedklpr = comparison.groups
    assert pooled.pooled
    assert not pooled.sends
    assert fedklpr.sends
    assert comparison.clients == ["ash", "birch"]


def test_noised_updates_are_said_with_their_epsilon(tmp_path):
    comparison = compared(tmp_path, (("privacy=local_dp",), {}), (("method=fedavg",), {}))
    (note,) = [note for note in comparison.notes if "privacy" in note]
    assert note == (
        "run-0 noised its updates (privacy=local_dp): no epsilon; accuracies are withheld"
    )


@pytest.mark.slow
def test_a_reference_is_a_label_a_method_or_fedklpr(tmp_path):
    comparison = compared(
        tmp_path,
        (("method=fedavg",), {"rank1": scores(0.9, 0.9)}),
        (("pruning.rate=0.2",), {"rank1": scores(0.8, 0.8)}),
        (("pruning.rate=0.3",), {"rank1": scores(0.1, 0.1)}),
    )
    assert comparison.group(None).label == "fedklpr, pruning.rate=0.2"
    assert comparison.group("fedklpr, pruning.rate=0.3").label == "fedklpr, pruning.rate=0.3"
    assert comparison.group("fedavg").label == "fedavg"
    with pytest.raises(SettingsError, match=r"'fedavgg' is none .*: fedavg; fedklpr"):
        comparison.group("fedavgg")


def test_without_a_whole_run_the_reasons_are_said(tmp_path):
    write_run(tmp_path / "a", status="failed")
    with pytest.raises(RunError, match=r"none of the runs is whole: .*failed"):
        compare_folders([tmp_path])


def test_runs_without_query_and_gallery_are_compared_by_their_bytes(tmp_path):
    none = ({"ash": None, "birch": None}, {"ash": None, "birch": None})
    comparison = compared(tmp_path, ((), {"rank1": none}), (("method=fedavg",), {}))
    assert [group.label for group in comparison.groups] == ["fedavg", "fedklpr"]
    assert comparison.groups[1].spread("rank1") is None
    assert comparison.groups[1].spread("mb_up").mean == 4.0


@pytest.mark.slow
def test_the_commits_of_all_runs_are_known_each_with_its_methods(tmp_path):
    comparison = compared(
        tmp_path,
        (("seed=0",), {"commits": ["1234abc"]}),
        (("seed=1",), {"commits": ["1234abc", "5678def with changes that are not committed"]}),
        (("method=fedavg",), {"commits": ["1234abc"]}),
        (("method=fedprox",), {}),
    )
    assert comparison.commits == {
        "1234abc": ["fedklpr", "fedavg"],
        "1234abc, then 5678def with changes that are not committed": ["fedklpr"],
        "not recorded": ["fedprox"],
    }


@pytest.mark.slow
def test_a_pruning_method_has_its_ideal_schedule_and_a_dense_one_has_none(tmp_path):
    early = ("pruning.first_round=1", "pruning.after=null")
    words = ("pruning.rate=0.2", "pruning.target=0.3", *early)
    three = (*scores(0.5, 0.5), {"ash": 0.5, "birch": 0.5})
    comparison = compared(
        tmp_path,
        (words, {"rank1": three}),
        (("method=fedavg", *words), {"rank1": three}),
        (("method=local_only",), {"rank1": three}),
    )
    ideal = {group.label: group.ideal_saving for group in comparison.groups}
    # densities 1, 0.8, 0.7 (0.64 would be under the target): up 1.5 of 2, down 1.8 of 2
    assert ideal["fedklpr"] == pytest.approx(0.175)
    assert (ideal["fedavg"], ideal["local_only"]) == (None, None)


DAMAGE = {
    "rank1 of text": ('"rank1": 0.7', '"rank1": "high"'),
    "rank1 of a list": ('"rank1": 0.7', '"rank1": [1]'),
    "beyond all numbers": ('"rank1": 0.7', '"rank1": 1e999'),
    "bytes of a group": ('"bytes_up": 2000000', '"bytes_up": {}'),
    "seconds of a list": ('"seconds": {}', '"seconds": []'),
    "a long number": ('"bytes_up": 2000000', f'"bytes_up": 1{"0" * 4000}'),
    "a client's name": ('"client": "ash"', '"client": "=cmd()"'),
    "a nest": ('"rank1": 0.7', f'"rank1": {"[" * 100_000}'),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_one_damaged_run_does_not_end_the_comparison_of_all(damage, tmp_path):
    for name, method in (("a", "fedavg"), ("b", "fedklpr")):
        write_run(tmp_path / name, f"method={method}")
    rows = tmp_path / "b" / "run.jsonl"
    assert damage[0] in rows.read_text()
    rows.write_text(rows.read_text().replace(*damage))
    found = compare_folders([tmp_path])
    assert [group.method for group in found.groups] == ["fedavg"]
    assert [one.folder.name for one in found.left_out] == ["b"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed:", ".inf"), ("seed:", "2001-01-01"), ("  rate:", "often"), ("seed:", "[&a 1, *a]")],
)
def test_settings_that_are_no_runs_are_left_out_of_a_comparison(key, value, tmp_path):
    write_run(tmp_path / "a", "method=fedavg")
    pruned = ("method=fedklpr", "pruning.first_round=1", "pruning.after=null")
    config = write_run(tmp_path / "b", *pruned) / "config.yaml"
    lines = config.read_text().splitlines()
    changed = [f"{key} {value}" if line.startswith(key) else line for line in lines]
    assert changed != lines
    config.write_text("\n".join(changed))
    assert [one.folder.name for one in compare_folders([tmp_path]).left_out] == ["b"]


def test_names_of_others_are_neither_formulas_nor_orders_to_a_terminal(tmp_path):
    config = write_run(tmp_path / "a", "method=fedavg") / "config.yaml"
    name = '=HYPERLINK("http://evil")\\e]0;PWNED[/red]'
    config.write_text(config.read_text().replace("  name: fedavg", f"  name: '{name}'", 1))
    config.write_text(
        config.read_text().replace(f"'{name}'", json.dumps(name).replace("\\\\e", "\\e"))
    )
    found = compare_folders([tmp_path])
    assert found.groups[0].method == '=HYPERLINK("http://evil")?]0;PWNED[/red]'
    assert comparison_csv(found).splitlines()[1].startswith("\"'=HYPERLINK")
    ran = CliRunner().invoke(app(), ["compare", str(tmp_path)])
    assert (ran.exit_code, "[/red]" in ran.stdout, "\x1b" in ran.stdout) == (0, True, False)
