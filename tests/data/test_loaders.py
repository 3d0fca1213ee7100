"""Batches: each picture once for evaluation, labels evenly for training."""

from collections import Counter

import pytest
import torch

from fedklpr_flwr.data.loaders import image_loader, labelled_loader, sample_batches
from fedklpr_flwr.data.transforms import evaluation_transform, training_transform
from fedklpr_flwr.errors import DataError


def batches_of(labels, per_batch, per_label, batches=None, copies=1, seed=0):
    return list(
        sample_batches(
            torch.tensor(labels),
            labels_per_batch=per_batch,
            images_per_label=per_label,
            batches=batches,
            generator=torch.Generator().manual_seed(seed),
            copies=copies,
        )
    )


def test_evaluation_sees_every_picture_once_in_order():
    pictures = torch.arange(7 * 3 * 2 * 2, dtype=torch.uint8).view(7, 3, 2, 2)
    batches = list(image_loader(pictures, 3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert torch.equal(torch.cat(batches), evaluation_transform(pictures))


def test_a_batch_holds_p_labels_with_k_pictures_each():
    labels = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    for batch in batches_of(labels, 2, 3, batches=10):
        of_batch = [labels[index] for index in batch.tolist()]
        assert len(set(of_batch)) == 2
        assert of_batch[0] == of_batch[1] == of_batch[2]
        assert of_batch[3] == of_batch[4] == of_batch[5]
        assert len(set(batch.tolist())) == 6


def test_outliers_are_never_drawn():
    labels = [-1, 0, 0, -1, 1, 1, -1]
    drawn = torch.cat(batches_of(labels, 2, 2, batches=20)).tolist()
    assert set(drawn) == {1, 2, 4, 5}


def test_a_label_with_too_few_pictures_repeats_all_of_them_before_any_twice_more():
    labels = [0, 0, 0, 1, 1, 1, 1]
    for batch in batches_of(labels, 2, 4, batches=20):
        times = Counter(index for index in batch.tolist() if labels[index] == 0)
        assert sorted(times.values()) == [1, 1, 2]


def test_every_label_comes_once_a_pass_and_the_pass_restarts():
    labels = list(range(6))
    drawn = [sorted(batch.tolist()) for batch in batches_of(labels, 3, 1, batches=8)]
    for first, second in zip(drawn[::2], drawn[1::2], strict=True):
        assert sorted(first + second) == labels
    assert len({tuple(batch) for batch in drawn}) > 2


def test_labels_left_over_at_the_end_of_a_pass_are_dropped():
    drawn = batches_of([0, 1, 2, 3, 4], 3, 1, batches=50)
    assert all(len(set(batch.tolist())) == 3 for batch in drawn)
    assert set(torch.cat(drawn).tolist()) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("used", "copies", "expected"), [(64, 1, 8), (63, 1, 7), (3, 1, 1), (20, 2, 5)]
)
def test_an_epoch_is_the_used_pictures_over_the_batch_size_and_at_least_one(used, copies, expected):
    labels = [index % 4 for index in range(used)] + [-1] * 100
    assert len(batches_of(labels, 4, 2, copies=copies)) == expected


def test_with_fewer_labels_than_p_the_batch_holds_all_of_them():
    (batch,) = batches_of([0, 0, 1, 1], 8, 2, batches=1)
    assert sorted(batch.tolist()) == [0, 1, 2, 3]


def test_without_a_label_there_is_no_batch():
    assert batches_of([-1, -1, -1], 8, 4) == []
    assert batches_of([], 8, 4) == []


def test_copies_let_a_picture_come_as_often_as_it_has_copies():
    (batch,) = batches_of([0, 0], 1, 6, batches=1, copies=3)
    assert Counter(batch.tolist()) == {0: 3, 1: 3}


def test_labels_need_not_be_contiguous():
    drawn = torch.cat(batches_of([7, 3, 7, 3], 2, 2, batches=3)).tolist()
    assert set(drawn) == {0, 1, 2, 3}


def test_one_seed_gives_one_order():
    labels = [index // 3 for index in range(30)]
    first, again, other = (batches_of(labels, 4, 2, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not all(torch.equal(one, two) for one, two in zip(first, other, strict=True))


def test_a_count_of_zero_is_refused_with_its_value():
    with pytest.raises(DataError, match="at least 1, got 0, 4"):
        batches_of([0, 1], 0, 4)


def test_training_batches_carry_the_indices_they_were_made_from():
    pictures = torch.randint(0, 256, (6, 3, 8, 4), dtype=torch.uint8)
    indices = [torch.tensor([4, 1]), torch.tensor([0, 0, 5])]
    settings = {"flip": 0.5, "padding": 2, "erasing": 0.5, "jitter": 0.1}
    loaded = list(labelled_loader(pictures, indices, torch.Generator().manual_seed(9), **settings))
    generator = torch.Generator().manual_seed(9)
    for (view, of_view), expected in zip(loaded, indices, strict=True):
        assert torch.equal(of_view, expected)
        assert torch.equal(view, training_transform(pictures[expected], generator, **settings))


def test_across_cameras_the_others_of_a_label_are_by_other_cameras_where_there_are_any():
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2])
    cameras = torch.tensor([0, 0, 0, 1, 2, 4, 4, 4, 1])
    seen = set()
    for batch in sample_batches(
        labels,
        labels_per_batch=3,
        images_per_label=3,
        batches=40,
        generator=torch.Generator().manual_seed(0),
        cameras=cameras,
    ):
        for own in batch.reshape(3, 3):
            label, first = int(labels[own[0]]), int(cameras[own[0]])
            assert set(labels[own].tolist()) == {label}
            if label == 0:
                assert first not in cameras[own[1:]].tolist()
                seen.add(first)
            else:
                assert len(set(own.tolist())) == {1: 3, 2: 1}[label]
    assert seen == {0, 1, 2}
