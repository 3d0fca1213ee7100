"""Claims about the HTML report: one page, nothing from outside, and the truth of partial runs."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from pages import Page
from run_folders import MEGA, write_run

from fedklpr_flwr.errors import RunError
from fedklpr_flwr.report.page.page import whole_page
from fedklpr_flwr.report.page.style import STYLE
from fedklpr_flwr.report.run_report import read_run_report
from fedklpr_flwr.report.site_inspection import Seen, SiteSeen
from fedklpr_flwr.runs.rows import Row, append_rows, read_rows, round_row, withhold

THREE = ({"ash": 0.2, "birch": 0.4}, {"ash": 0.5, "birch": 0.7}, {"ash": 0.6, "birch": 0.8})
NOTHING = ({"ash": None, "birch": None}, {"ash": None, "birch": None})


def page_of(folder, seen=None):
    return Page(whole_page(read_run_report(folder), seen or Seen()))


def rewrite(folder, change):
    """All clients merged, their rows of rounds from 1 on changed, the rounds' own made anew."""
    old = read_rows(folder / "run.jsonl")
    (folder / "run.jsonl").unlink()
    for number in sorted({row.round for row in old}):
        rows = [replace(row, status="merged") for row in old if row.round == number and row.client]
        rows = [change(row) for row in rows] if number else rows
        append_rows(folder / "run.jsonl", [*rows, round_row(rows, 1.0, {"train": 2.0})])
    return folder


def append(folder, text):
    with (folder / "run.jsonl").open("a") as file:
        file.write(text)


# ---------------------------------------------------------------------------- one page, alone


def test_the_page_asks_for_nothing_outside_of_itself(tmp_path):
    page = page_of(write_run(tmp_path / "run", rank1=THREE))
    assert page.asks_for == []
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base"} == set()
    assert not re.search(r"url\(|@import|https?:", STYLE)
    (policy,) = [a["content"] for a in page.named("meta") if "Policy" in a.get("http-equiv", "")]
    assert policy.startswith("default-src 'none'")


def test_names_that_are_markup_are_text(tmp_path):
    evil = "<script>alert(1)</script>"
    folder = write_run(tmp_path / evil.replace("/", "_"), rank1=({evil: 0.1}, {evil: 0.2}))
    reason = '"><img src=http://evil onerror=x>'
    rewrite(folder, lambda row: replace(row, status="failed", failed=reason, crr="<b>"))
    (folder / "status.json").write_text(json.dumps({"status": "failed", "message": reason}))
    page = page_of(folder)
    assert page.named("script") == []
    assert page.named("img") == []
    assert reason in page.text
    assert page.table("last reason")[0]["client"] == evil


def test_half_of_a_surrogate_pair_can_be_written(tmp_path):
    from fedklpr_flwr.report.html_report import write_page

    folder = write_run(tmp_path / "run", rank1=({"\ud800": 0.1}, {"\ud800": 0.2}))
    write_page(whole_page(read_run_report(folder), Seen()), tmp_path / "page.html")
    Page((tmp_path / "page.html").read_text(encoding="utf-8"))


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path):
    from fedklpr_flwr.report.html_report import write_page

    with pytest.raises(RunError, match="choose a file with --out"):
        write_page("", tmp_path / "none" / "page.html")


# ---------------------------------------------------------------------------- its figures


def test_the_headline_has_accuracies_bytes_and_rounds(tmp_path):
    page = page_of(write_run(tmp_path / "run", rank1=THREE))
    for words in ("0.700", "from 0.300", "2 of 2", "finished", "9.0 s", "4.5 s a round"):
        assert words in page.text
    # Sent: 2 x 1 MB in round 0, then 2 x 3 MB twice; dense: 2 x 4 MB three times.
    assert "14.0 MB" in page.text
    assert "10.0 MB (42%) less than dense" in page.text
    assert "partial" not in page.text


def test_a_mean_of_fewer_clients_than_before_says_of_how_many(tmp_path):
    silent = ({"ash": 0.2, "birch": 0.4}, {"ash": 0.5, "birch": None})
    assert (
        "from 0.300; of 1 of 2 clients" in page_of(write_run(tmp_path / "run", rank1=silent)).text
    )


def test_bytes_are_added_up_over_the_rounds(tmp_path):
    page = page_of(write_run(tmp_path / "run", rank1=THREE))
    for megabytes, rank1 in ((2, 0.3), (8, 0.6), (14, 0.7)):
        assert f"as sent: {rank1:.3f} at {megabytes} (MB" in page.text
    assert "if dense: 0.700 at 24 (MB" in page.text


def test_a_merges_weights_stand_in_its_cells_and_who_was_not_merged_has_none(tmp_path):
    folder = write_run(tmp_path / "run", rank1=THREE)

    def weighed(row):
        if row.client == "ash" and row.round == 2:
            return replace(row, status="late", failed="no reply in 10 s")
        return replace(row, weight=0.25, klaw=0.4, praw=0.6)

    page = page_of(rewrite(folder, weighed))
    assert "birch, round 2: 0.250 (KLAW 0.400, PRAW 0.600)" in page.text
    assert "ash, round 2: late" in page.text
    assert len(page.classes("heat")) == 3
    assert len(page.classes("struck")) == 1


def test_decisions_are_told_with_accuracy_and_reason(tmp_path):
    def decided(row):
        crr = {1: "held_level", 2: "pruned"}[row.round]
        return replace(row, crr=crr, accuracy=0.1 * row.round)

    page = page_of(rewrite(write_run(tmp_path / "run", rank1=THREE), decided))
    held = "round 1: held: its accuracy of the round before was below crr.level, or it had none"
    assert f"{held}; CRR's accuracy 0.100" in page.text
    assert "round 2: pruned a step further; CRR's accuracy 0.200, pruned 50%" in page.text
    assert "crr.level=" in page.text


def test_the_level_is_drawn_only_where_recovery_decides(tmp_path):
    folder = write_run(tmp_path / "run", "method.pruning=always", rank1=THREE)
    page = page_of(folder)
    assert "crr.level" not in page.text.partition("All settings")[0]
    assert page.classes("level") == []


def test_where_nobody_prunes_that_is_said_in_place_of_empty_charts(tmp_path):
    page = page_of(write_run(tmp_path / "run", "method.pruning=none", rank1=THREE))
    assert page.text.count("Nobody prunes: method.pruning=none.") == 2
    assert "The shaded stairs" not in page.text


def test_seconds_are_stacked_by_phase_also_by_one_that_is_new(tmp_path):
    def timed(row):
        return replace(row, seconds={"train": 4.0, "dream": 2.0})

    page = page_of(rewrite(write_run(tmp_path / "run", rank1=THREE), timed))
    assert "round 2, dream: 2.0 s" in page.text
    assert "round 2, train: 4.0 s" in page.text


def test_clusters_stand_beside_the_persons_who_are_there(tmp_path):
    def clustered(row):
        found = 9 if row.client == "ash" else 5
        return replace(row, clusters=found, cluster_precision=0.5, outliers=3)

    folder = rewrite(write_run(tmp_path / "run", rank1=THREE), clustered)
    seen = Seen((SiteSeen("ash", "ash", 6), SiteSeen("birch", "birch", None, why="elsewhere")))
    ash, birch = page_of(folder, seen).table("persons")
    assert (ash["clusters"], ash["persons"], ash["outliers"]) == ("9", "6", "3")
    assert (ash["precision"], ash["recall"]) == ("0.500", "–")
    assert (birch["clusters"], birch["persons"]) == ("5", "–")


def test_failures_are_counted_by_client_with_the_last_reason(tmp_path):
    def faulty(row):
        if row.client == "birch":
            return row
        failed = {1: ("failed", "out of memory"), 2: ("absent", "node is away")}[row.round]
        return replace(row, status=failed[0], failed=failed[1])

    folder = rewrite(write_run(tmp_path / "run", rank1=THREE), faulty)
    (ash,) = page_of(folder).table("last reason")
    assert [ash[key] for key in ("merged", "failed", "late", "absent")] == ["0", "1", "0", "1"]
    assert ash["last reason"] == "round 2: node is away"


def test_many_clients_are_faint_lines_with_the_best_the_worst_and_the_mean_named(tmp_path):
    names = [f"gate-{n:02d}" for n in range(12)]
    rounds = [{name: (0.1 + 0.01 * n) * (t + 1) for n, name in enumerate(names)} for t in (0, 1)]
    page = page_of(write_run(tmp_path / "run", rank1=rounds))
    assert len(page.classes("many")) == 10
    for said in ("gate-11 0.420", "gate-00 0.200", "mean 0.310"):
        assert said in page.text


# ---------------------------------------------------------------------------- partial and empty


def test_one_client_and_one_round_are_a_whole_page(tmp_path):
    page = page_of(write_run(tmp_path / "run", rank1=({"ash": 0.2}, {"ash": 0.5}), names=("ash",)))
    assert "1 client" in page.text
    assert "partial" not in page.text


def test_a_run_without_scores_labels_or_masks_says_so(tmp_path):
    page = page_of(write_run(tmp_path / "run", rank1=NOTHING))
    for words in ("no site has both queries and a gallery", "Nothing was clustered", "mask"):
        assert words in page.text


def private(row):
    row = replace(row, rank1=None, map=None, epsilon=3.5 * row.round)
    withhold(row)
    return row


def test_what_noised_updates_withhold_is_called_so_and_epsilon_stands_on_top(tmp_path):
    folder = write_run(tmp_path / "run", "privacy=local_dp", rank1=(NOTHING[0], *THREE[1:]))
    page = page_of(rewrite(folder, private))
    assert "withheld" in page.text
    assert "7 the largest of a site at delta 1e-05" in page.text
    assert page.text.count("Withheld: with privacy=local_dp no figure made of the pictures") == 5
    assert "privacy=local_dp: figures made of the pictures are withheld" in page.text
    for words in ("no site has both", "Nothing was clustered", "rows are older", "mean Rank-1"):
        assert words not in page.text


def test_noised_updates_that_leak_have_no_epsilon(tmp_path):
    words = ("privacy=local_dp", "privacy.scores=true")
    folder = write_run(tmp_path / "run", *words, rank1=THREE)
    page = page_of(rewrite(folder, lambda row: replace(private(row), rank1=0.5, epsilon=None)))
    assert "– settings leak around the noise" in page.text
    assert "no epsilon is told" in page.text
    assert "mean Rank-1 0.500" in page.text


def test_a_run_that_evaluated_only_the_initial_model_is_a_page(tmp_path):
    page = page_of(write_run(tmp_path / "run", "federation.rounds=5", rank1=THREE[:1]))
    assert "No round was trained yet." in page.text
    assert "merged in every round" not in page.text
    assert "it tells of round 0 of 5" in page.text


@pytest.mark.slow
def test_a_run_that_failed_half_way_is_partial_with_its_reason(tmp_path):
    folder = write_run(tmp_path / "run", "federation.rounds=9", rank1=THREE)
    (folder / "status.json").write_text('{"status": "failed", "message": "too few replies"}')
    page = page_of(folder)
    assert "This report is partial:" in page.text
    assert "the run failed after round 2 of 9: too few replies" in page.text
    assert "0.700" in page.text


def test_a_run_that_goes_on_is_partial(tmp_path):
    folder = write_run(tmp_path / "run", "federation.rounds=9", rank1=THREE, status="running")
    assert "is going on, or was cut off: it tells of round 2 of 9 so far" in page_of(folder).text


def test_a_run_that_wrote_no_round_is_a_page_with_its_reason(tmp_path):
    (tmp_path / "status.json").write_text('{"status": "failed", "message": "no node came"}')
    page = page_of(tmp_path)
    assert "the run failed before its first round was over: no node came" in page.text
    assert "there is no run.jsonl" in page.text
    assert "No round is told of." in page.text
    assert page.named("svg") == []


@pytest.mark.parametrize("half", ['{"round": 2, "cli', '{"round": 2, "client": null}'])
def test_a_half_written_line_and_its_round_are_left_out_and_told(tmp_path, half):
    folder = write_run(tmp_path / "run", "federation.rounds=2")
    append_rows(folder / "run.jsonl", [Row(2, "ash", rank1=0.9, bytes_up=MEGA)])
    append(folder, half)
    page = page_of(folder)
    assert "half-written" in page.text
    assert "0.900" not in page.text or half.endswith("}")
    assert ("round 2 is not whole" in page.text) == (not half.endswith("}"))


def test_a_line_that_is_damaged_before_the_last_is_one_sentence(tmp_path):
    folder = write_run(tmp_path / "run")
    append(folder, "{rubbish}\n" + '{"round": 2, "client": null}\n')
    with pytest.raises(RunError, match=r"run.jsonl, line \d+ is damaged"):
        read_run_report(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rank1", '"high"'),
        ("rank1", "1e999"),
        ("weight", "null"),
        ("bytes_up", "true"),
        ("round", "-1"),
        ("client", "3"),
        ("seconds", '{"train": "long"}'),
        ("seconds", "[]"),
        ("failed", "7"),
        ("idle", '"no"'),
    ],
)
def test_what_no_version_writes_is_refused_with_its_key(tmp_path, key, value):
    folder = write_run(tmp_path / "run")
    row = {"round": "1", "client": "null", key: value}
    append(folder, "{" + ", ".join(f'"{name}": {said}' for name, said in row.items()) + "}\n")
    with pytest.raises(RunError, match=f"{key}=.*expected"):
        read_run_report(folder)


def test_rows_and_settings_of_another_version_are_shown_as_far_as_they_go(tmp_path):
    folder = write_run(tmp_path / "run")
    append(folder, '{"round": 2, "client": null, "rank1": 0.9, "colour": "red"}\n')
    (folder / "config.yaml").write_text("seed: 3\nfederation:\n  rounds: many\n")
    page = page_of(folder)
    assert "0.900" in page.text
    assert "seed 3" in page.text
    assert "is of another version" in page.text
    assert "This report is partial" in page.text


def test_settings_that_cannot_be_read_are_a_remark(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "config.yaml").unlink()
    page = page_of(folder)
    assert "what was run is not known" in page.text
    assert "0.600" in page.text


def test_a_folder_that_holds_no_run_is_one_sentence(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        read_run_report(tmp_path)
    with pytest.raises(RunError, match="is not a folder"):
        read_run_report(tmp_path / "none")


# ---------------------------------------------------------------------------- what is not known


def without(folder, *keys):
    """The run's rows as a version wrote them that did not have these keys."""
    path = folder / "run.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if key not in keys} for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    return folder


def test_figures_whose_keys_the_rows_lack_are_unknown_and_no_zeros(tmp_path):
    keys = ("bytes_up", "bytes_down", "pruned", "weight", "clusters", "failed")
    page = page_of(without(write_run(tmp_path / "run", rank1=THREE), *keys))
    assert "This report is partial:" in page.text
    assert "rows of run.jsonl lack bytes_down, bytes_up, clusters, failed, pruned" in page.text
    assert "0.700" in page.text  # what is there is shown
    for zero in ("0.0 MB", "0.00", "0.0%", "merged in every round", "Nothing was sent"):
        assert zero not in page.text.partition("All settings")[0]
    for line in page.table("MB up"):
        assert (line["MB up"], line["MB down"], line["pruned"], line["status"]) == ("–",) * 4
        assert line["Rank-1"] != "–"
    assert {line["up"] for line in page.table("decisions")} == {"–"}


def test_a_whole_run_lacks_nothing(tmp_path):
    run = read_run_report(write_run(tmp_path / "run", rank1=THREE))
    assert (run.unsaid, run.faulty, run.remarks) == (frozenset(), "", ())


@pytest.mark.parametrize("status", ["{", "[]", '{"message": "x"}', None])
def test_a_status_that_is_damaged_or_gone_makes_the_report_partial(tmp_path, status):
    folder = write_run(tmp_path / "run", rank1=THREE, status=None)
    if status is not None:
        (folder / "status.json").write_text(status)
    page = page_of(folder)
    assert "This report is partial:" in page.text
    assert "whether the run ended well is not known" in page.text


@pytest.mark.parametrize("name", ["clients/ash/mask.safetensors", "global.safetensors"])
def test_a_damaged_mask_or_model_makes_the_report_partial(undisturbed, tmp_path, name):
    folder = shutil.copytree(undisturbed.folder, tmp_path / "run")
    (folder / "status.json").write_text('{"status": "finished"}')
    assert read_run_report(folder).remarks == ()
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    page = page_of(folder)
    assert "This report is partial:" in page.text
    assert "masks or merged model are damaged" in page.text
    assert name.rpartition("/")[2] in page.text


# ---------------------------------------------------------------------------- without names


def test_feature_drift_is_shown_round_by_round(tmp_path):
    def moved(row):
        return replace(row, cosine_distance=0.1 * row.round)

    page = page_of(rewrite(write_run(tmp_path / "run", rank1=THREE), moved))
    assert "Feature drift of each client" in page.text
    for number in (1, 2):
        assert f"ash: 0.{number}00 at {number} (round)" in page.text


def test_an_idle_client_is_named_with_a_mark_of_its_own(tmp_path):
    def idle(row):
        return replace(row, idle=row.client == "ash", clusters=0 if row.client == "ash" else 7)

    page = page_of(rewrite(write_run(tmp_path / "run", rank1=THREE), idle))
    assert "Idle in the last round: ash." in page.text
    assert len(page.classes("idle")) == 3  # two rounds, and the key
    ash, birch = page.table("idle rounds")
    assert (ash["clusters"], ash["idle rounds"]) == ("idle", "2 of 2")
    assert (birch["clusters"][:1], birch["idle rounds"]) == ("7", "0 of 2")


def test_how_far_clusters_span_cameras_stands_beside_the_true_split(tmp_path):
    told = {"clusters": 7, "camera_span": 0.25, "camera_split": 0.5}
    told |= {"cluster_precision": 0.75, "cluster_recall": 0.125}

    def found(row):
        return replace(row, **told) if row.client == "ash" else row

    page = page_of(rewrite(write_run(tmp_path / "run", rank1=THREE), found))
    ash = page.table("idle rounds")[0]
    shown = [ash[name] for name in ("spanning cameras", "pairs split", "precision", "recall")]
    assert shown == ["0.250", "0.500", "0.750", "0.125"]


def test_all_clients_idle_are_no_empty_section(tmp_path):
    page = page_of(
        rewrite(write_run(tmp_path / "run", rank1=THREE), lambda row: replace(row, idle=True))
    )
    assert "Idle in the last round: ash, birch." in page.text
    assert "Nothing was clustered" not in page.text


def test_clients_that_cannot_be_searched_are_named_beside_those_that_can(tmp_path):
    page = page_of(write_run(tmp_path / "run", rank1=({"ash": 0.1, "birch": None},) * 2))
    assert "Nobody can be searched for at birch" in page.text
