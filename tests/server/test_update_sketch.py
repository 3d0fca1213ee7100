"""Claims about server.robust.update_sketch: what is kept of a direction, in memory and on disk."""

import numpy as np
import pytest

from fedklpr_flwr.server.robust import update_sketch as change
from fedklpr_flwr.server.robust.update_sketch import (
    SampledChange,
    alignment_share,
    sampled_change,
    sampled_places,
)
from fedklpr_flwr.wire.layout import layout_of


@pytest.mark.slow
def test_real_boxes_are_asked_unless_told_otherwise(tiny_settings):
    assert alignment_share(tiny_settings()) is None
    assert alignment_share(tiny_settings("deployment=true")) == 0.3
    assert alignment_share(tiny_settings("deployment=true", "defence.alignment=0.1")) == 0.1
    assert alignment_share(tiny_settings("deployment=true", "defence.alignment=0")) is None


def test_a_change_on_disk_is_the_one_in_memory(tmp_path):
    random = np.random.default_rng(1)
    held = random.random(1000) < 0.5
    kept = SampledChange(np.where(held, random.random(1000), 0).astype(np.float32), held)
    spooled = kept.spool(tmp_path / "it.change")
    assert (spooled.count, spooled.moved) == (kept.count, kept.moved) == (1000, True)
    for part in ((0, 1000), (0, 1), (333, 720), (999, 1000)):
        for one, other in zip(kept.part(*part), spooled.part(*part), strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


def test_nothing_changed_is_told_without_a_look_at_the_disk(tmp_path):
    still = SampledChange(np.zeros(9, np.float32), np.ones(9, np.bool_)).spool(tmp_path / "it")
    (tmp_path / "it").unlink()
    assert not still.moved


@pytest.mark.parametrize("masked", [True, False])
def test_the_changes_at_the_sampled_weights_are_those_of_a_slow_loop(
    masked, tiny_settings, monkeypatch
):
    monkeypatch.setattr(change, "SAMPLED", 16_384)
    generator = np.random.default_rng(5)
    shapes = {"bias": (7,), "conv": (40, 3, 3, 3), "linear": (150, 200)}
    sent = {name: generator.standard_normal(s).astype(np.float32) for name, s in shapes.items()}
    layout = layout_of(sent, ["conv", "linear"])
    places = sampled_places(layout, tiny_settings("defence.alignment=0.3"))
    assert set(places) == {"conv", "linear"}, "biases are not looked at"
    assert sum(map(len, places.values())) == 16_384
    found, slow, kept = [], [], []
    for spec in layout:
        trained = sent[spec.name] + generator.standard_normal(spec.shape).astype(np.float32)
        mask = generator.random(spec.shape) < 0.5 if masked else None
        if spec.name not in places:
            continue
        values = trained if mask is None else trained[mask]
        found.append(sampled_change(places[spec.name], values, mask, sent[spec.name]))
        for place in places[spec.name]:
            holds = mask is None or bool(mask.flat[place])
            kept.append(holds)
            slow.append(trained.flat[place] - sent[spec.name].flat[place] if holds else 0)
    whole = SampledChange.joined(found)
    assert whole.held.tolist() == kept
    assert whole.values == pytest.approx(np.array(slow, np.float32))


@pytest.mark.parametrize("places", [[], [0], [3], [0, 1, 2, 3], [1, 3]])
def test_a_few_places_are_enough(places):
    mask, sent = np.array([True, False, True, True]), np.zeros(4, np.float32)
    chosen = np.array(places, np.int64)
    found = sampled_change(chosen, np.array([1, 3, 4], np.float32), mask, sent)
    assert found.values.tolist() == [[1, 0, 3, 4][place] for place in places]
    assert found.held.tolist() == mask[chosen].tolist()


def test_nothing_is_sampled_where_it_is_not_asked(tiny_settings):
    layout = layout_of({"conv": np.zeros((9, 9), np.float32)}, ["conv"])
    assert sampled_places(layout, tiny_settings()) == {}
