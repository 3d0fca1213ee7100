"""Claims about local differential privacy: what leaves a site is noised, counted, or withheld."""

import json
import math
from dataclasses import replace

import pytest
from safetensors.numpy import load_file
from tiny_federation import ALONE, forget, interfering
from wiretap import PAIR

from fedklpr_flwr.client.state_store import MemoryFolder
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.protocol.flower_messages import read_report
from fedklpr_flwr.protocol.local_privacy import epsilon, leaks, privacy_notes

PRIVATE = (
    "privacy=local_dp",
    "pruning.first_round=1",
    "privacy.clip=1e-3",  # noise of a clip of 1 would leave a tiny network that draws no numbers
)
WITHHELD = {
    "examples": 1, "divergence": 0.0, "cosine_distance": 0.0, "clusters": 0, "outliers": 0,
    "idle": False, "loss": 0.0, "kl_loss": 0.0, "pictures_changed": False,
}  # fmt: skip


def private(*overrides):
    return compose_settings("smoke", (*PRIVATE, *overrides))


def test_what_a_run_continues_is_said_to_count_beside_its_own_rounds():
    alone = private()
    later = replace(alone, run=replace(alone.run, continues="runs/week1"))
    assert "beside what the runs that this one continues have released" in privacy_notes(later)[0]
    assert "continues" not in privacy_notes(alone)[0]


@pytest.mark.slow
def test_no_number_of_an_update_moves_beyond_clip_and_noise(federate):
    """Batch norm's statistics, means and variances of the pictures, least of all."""
    small = ("privacy.clip=1e-6", "privacy.noise=0.001", "method.personal_parts=none")
    run = federate(*PRIVATE, *small, names=PAIR)
    assert run.row(2, PAIR[0]).pruned > 0
    merged = load_file(run.folder / "global.safetensors")
    statistics = {name: array for name, array in merged.items() if ".running_" in name}
    assert statistics
    for name, array in statistics.items():
        start = 1.0 if name.endswith("running_var") else 0.0
        assert abs(array - start).max() < 1e-4, name


@pytest.mark.slow
def test_statistics_stay_at_home_unless_asked_for(federate):
    run = federate(*PRIVATE, names=PAIR)
    merged = load_file(run.folder / "global.safetensors")
    assert merged
    assert [name for name in merged if ".running_" in name or ".bn" in name] == []


@pytest.mark.slow
@pytest.mark.parametrize("clip", [(), ("privacy.clip=1",)])
def test_a_run_goes_through_whatever_its_clip(clip, federate):
    """Before batch norm stayed at home, features overflowed after the first merge."""
    run = federate("privacy=local_dp", "pruning.first_round=1", *clip, names=PAIR)
    assert [run.row(2, name).status for name in PAIR] == ["merged", "merged"]


def test_epsilon_is_renyis_bound_of_a_gaussian():
    settings = private("privacy.noise=2")
    orders = [1 + x / 10 for x in range(1, 100)] + list(range(12, 64))
    slow = min(
        7 * a / (2 * 2.0**2) + math.log1p(-1 / a) - math.log(1e-5 * a) / (a - 1) for a in orders
    )
    assert epsilon(7, settings) == pytest.approx(slow, rel=1e-6)
    assert epsilon(8, settings) > epsilon(7, settings)
    assert "epsilon=" in privacy_notes(settings)[0]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("privacy.scores=true", "accuracies that are not noised"),
        ("privacy.randomness=seed", "subtract the noise"),
        ("method.pruning=recovery", "by an accuracy that is not noised"),
        ("method.pruning=sub_fedavg", "by an accuracy that is not noised"),
        ("pruning.when=before_last_epoch", "by weights that are not noised yet"),
        ("pruning.batchnorm=reestimate", "statistics of the pictures without noise"),
    ],
)
def test_a_setting_that_lets_something_out_around_the_noise_has_no_epsilon(override, said):
    settings = private(override)
    assert said in leaks(settings)[0]
    assert epsilon(3, settings) is None
    assert said in privacy_notes(settings)[0]
    assert leaks(private()) == []


@pytest.mark.slow
def test_what_the_noise_leaves_of_a_model_is_told_before_a_run():
    """Three sites and twelve rounds: 2 * .01 * 3 * sqrt(12 / 3) = .12."""
    words = ("privacy=local_dp", "privacy.clip=0.01", "privacy.noise=3", "federation.rounds=12")
    at_home = privacy_notes(compose_settings("smoke", words))
    notes = privacy_notes(compose_settings("smoke", (*words, "method.personal_parts=none")))
    assert "noise of deviation 0.12 will be in every number of the merged model" in notes[1]
    assert "method.personal_parts=batchnorm keeps them at home" in notes[2]
    assert at_home == notes[:2]


def test_where_nothing_leaves_a_site_there_is_nothing_to_noise():
    with pytest.raises(SettingsError, match="nothing leaves a site"):
        private("method=local_only", "method.pruning=none")


def test_weights_made_of_withheld_figures_are_refused():
    with pytest.raises(SettingsError, match="klpwa is made of figures that privacy=local_dp"):
        private("method.aggregation_weights=klpwa")


def test_a_release_is_counted_though_the_count_or_the_reply_is_lost(tmp_path):
    folder = MemoryFolder(tmp_path, "run", "gate")
    assert [folder.count_release(0), folder.count_release(0)] == [1, 2]
    (folder.folder / "releases").unlink()
    assert folder.count_release(5) == 6


@pytest.mark.slow
def test_an_update_that_was_lost_counts_though_its_site_has_lost_the_count_too(federate):
    """birch sends one that gets lost, then loses its memory, and sends another."""
    lost, forgot = [1], [1]

    def astray(message, context, app):
        number = int(message.metadata.group_id)
        if number == 1 and lost and lost.pop():
            app(message, context)
            raise ConnectionError("the line was cut")
        if number == 2 and forgot and forgot.pop():
            return forget(message, context, app)
        return app(message, context)

    run = federate(*PRIVATE, ALONE, app=interfering(astray, client=PAIR[1]), names=PAIR)
    settings = private()
    assert [run.row(number, PAIR[1]).status for number in (1, 2)] == ["failed", "merged"]
    told = [run.row(number, PAIR[1]).epsilon for number in (0, 1, 2)]
    assert told == [None, pytest.approx(epsilon(1, settings)), pytest.approx(epsilon(2, settings))]


@pytest.mark.slow
def test_a_release_is_on_the_servers_disk_before_the_task_goes_out(federate, tmp_path):
    counted = []

    def look(message, context, app):
        book = json.loads((tmp_path / "run" / "state.json").read_text(encoding="utf-8"))
        counted.append(book["clients"][PAIR[1]]["releases"])
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            federate(*PRIVATE, app=interfering(look, client=PAIR[1]), names=PAIR)
    assert counted == [1, 2]
    run = federate(*PRIVATE, names=PAIR)
    assert run.row(1, PAIR[1]).epsilon == pytest.approx(epsilon(3, private()))


@pytest.mark.slow
def test_a_site_that_counts_more_than_its_server_is_believed(federate):
    def more(message, context, app):
        reply = app(message, context)
        reply.content["report"]["releases"] = 3
        return reply

    run = federate(*PRIVATE, app=interfering(more, client=PAIR[0], round=1), names=PAIR)
    told = [run.row(number, PAIR[0]).epsilon for number in (1, 2)]
    assert told == [pytest.approx(epsilon(number, private())) for number in (3, 4)]


@pytest.mark.slow
def test_nothing_but_the_noised_update_and_its_count_leaves_a_site(federate):
    said = []

    def listen(message, context, app):
        reply = app(message, context)
        said.append((message.metadata.message_type, read_report(reply.content)))
        return reply

    run = federate(*PRIVATE, app=interfering(listen, phase=None), names=PAIR)
    updates = [report for kind, report in said if kind == "train"]
    assert len(updates) == 4
    for report in updates:
        assert {key: report[key] for key in WITHHELD} == WITHHELD
        known = {"status", "pruned", "crr", "releases", *WITHHELD}
        assert {key for key, value in report.items() if value is not None} == known
    scores = [report for kind, report in said if kind == "evaluate"]
    assert all(set(report) == {"status", "pictures_changed"} for report in scores)
    settings = private()
    for number in (1, 2):
        for name in PAIR:
            row = run.row(number, name)
            assert (row.rank1, row.rank1_local, row.weight) == (None, None, 0.5)
            assert row.epsilon == pytest.approx(epsilon(number, settings))
            assert row.pruned > 0
            assert (row.clusters, row.idle, row.loss, row.divergence) == (None,) * 4, "no zeros"
    assert run.row(2, None).epsilon == run.row(2, PAIR[0]).epsilon


@pytest.mark.slow
def test_without_privacy_nothing_is_withheld_and_no_epsilon_told(federate):
    run = federate(names=PAIR)
    row = run.row(2, PAIR[0])
    assert row.epsilon is None
    assert None not in (row.rank1, row.rank1_local, row.accuracy)
