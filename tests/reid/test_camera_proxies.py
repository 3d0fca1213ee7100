"""The camera-aware loss against its definition in loops, and the memory's moving centroids."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.reid.camera_proxies import (
    CameraProxyMemory,
    assign_proxies,
    mutual_partners,
    proxy_centroids,
)


def unit_rows(count: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, width, generator=generator), dim=1)


def batch(seed: int, pictures: int = 90) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Centroids with their clusters and cameras; 24 features with their proxies."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 9, (pictures,), generator=generator)
    cameras = torch.randint(3, (pictures,), generator=generator)
    proxies, cluster, camera = assign_proxies(labels, cameras)
    features = unit_rows(pictures, 16, seed)
    centroids = proxy_centroids(features, proxies, len(cluster))
    chosen = proxies[proxies != -1][:24]
    return centroids, cluster, camera, unit_rows(24, 16, seed + 1), chosen


def loss_by_loops(
    features: Tensor,
    proxies: Tensor,
    centroids: Tensor,
    cluster: Tensor,
    camera: Tensor,
    hard_negatives: int,
) -> Tensor:
    total = features.new_zeros(())
    for c in {int(camera[y]) for y in proxies}:
        intra, inter = [], []
        for f, y in zip(features, proxies, strict=True):
            if camera[y] != c:
                continue
            scores = (centroids @ f / 0.07).exp()
            same_camera = [p for p in range(len(camera)) if camera[p] == c]
            intra.append(-(scores[y] / scores[same_camera].sum()).log())
            positive = [p for p in range(len(camera)) if cluster[p] == cluster[y]]
            others = [p for p in range(len(camera)) if cluster[p] != cluster[y]]
            hardest = sorted(others, key=lambda p: -scores[p].item())[:hard_negatives]
            share = scores[positive] / scores[positive + hardest].sum()
            inter.append(-share.log().mean())
        total = total + 0.6 * torch.stack(intra).mean() + 0.7 * torch.stack(inter).mean()
    return total


def test_a_proxy_is_a_cluster_seen_by_a_camera() -> None:
    labels = torch.tensor([1, 0, -1, 1, 1, 0])
    cameras = torch.tensor([2, 0, 0, 0, 2, 0])
    proxy_of_image, cluster, camera = assign_proxies(labels, cameras)
    assert proxy_of_image.tolist() == [2, 0, -1, 1, 2, 0]
    assert cluster.tolist() == [0, 1, 1]
    assert camera.tolist() == [0, 0, 2]


def test_outliers_alone_make_no_proxy() -> None:
    proxy_of_image, cluster, camera = assign_proxies(torch.full((3,), -1), torch.arange(3))
    assert proxy_of_image.tolist() == [-1, -1, -1]
    assert len(cluster) == len(camera) == 0


def test_centroids_are_unit_means_without_outliers() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    centroids = proxy_centroids(features, torch.tensor([0, 0, 1, -1]), 3)
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.6, 0.8], [0.0, 0.0]])
    torch.testing.assert_close(centroids, expected)


@pytest.mark.parametrize("hard_negatives", [50, 4, 0])
@pytest.mark.parametrize("seed", [0, 10])
def test_loss_and_gradient_are_those_of_the_definition(hard_negatives: int, seed: int) -> None:
    """Fifty is more than all proxies of other clusters: then all of them are the negatives."""
    centroids, cluster, camera, features, proxies = batch(seed)
    features.requires_grad_()
    memory = CameraProxyMemory(centroids, cluster, camera, hard_negatives=hard_negatives)
    fast = memory.loss(features, proxies)
    slow = loss_by_loops(features, proxies, centroids, cluster, camera, hard_negatives)
    torch.testing.assert_close(fast, slow)
    gradients = [torch.autograd.grad(value, features)[0] for value in (fast, slow)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)


def test_cameras_count_the_same_however_many_pictures_they_took() -> None:
    centroids, cluster, camera, features, proxies = batch(3)
    memory = CameraProxyMemory(centroids, cluster, camera)
    order = camera[proxies].argsort(stable=True)
    once = memory.loss(features, proxies)
    first_camera = camera[proxies] == camera[proxies[order[0]]]
    twice = torch.cat([torch.arange(24), first_camera.nonzero().flatten()])
    torch.testing.assert_close(memory.loss(features[twice], proxies[twice]), once)


def test_a_single_proxy_gives_no_loss() -> None:
    memory = CameraProxyMemory(unit_rows(1, 8, 0), torch.tensor([0]), torch.tensor([0]))
    loss = memory.loss(unit_rows(4, 8, 1), torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(loss, torch.tensor(0.0))


def test_weights_of_nothing_give_no_loss() -> None:
    centroids, cluster, camera, features, proxies = batch(5)
    memory = CameraProxyMemory(centroids, cluster, camera, intra_weight=0, inter_weight=0)
    assert memory.loss(features, proxies) == 0


def test_the_centroids_move_picture_by_picture() -> None:
    centroids, cluster, camera, features, _ = batch(7)
    proxies = torch.tensor([0, 1, 0, 0, 2, 1, 3, 0])
    memory = CameraProxyMemory(centroids, cluster, camera, momentum=0.2)
    memory.update(features[:8], proxies)
    expected = centroids.clone()
    for f, y in zip(features, proxies, strict=False):
        moved = 0.2 * expected[y] + 0.8 * f
        expected[y] = moved / moved.norm()
    torch.testing.assert_close(memory.centroids, expected)
    assert torch.equal(memory.centroids[4:], centroids[4:])


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_momentum_of_one_keeps_and_of_zero_replaces(momentum: float) -> None:
    centroids, cluster, camera, features, _ = batch(8)
    memory = CameraProxyMemory(centroids, cluster, camera, momentum=momentum)
    memory.update(features[:1], torch.tensor([2]))
    expected = centroids[2] if momentum else features[0]
    torch.testing.assert_close(memory.centroids[2], expected)


def test_an_update_before_the_backward_pass_does_not_change_the_gradient() -> None:
    centroids, cluster, camera, features, proxies = batch(9)
    features.requires_grad_()
    memory = CameraProxyMemory(centroids, cluster, camera)
    expected = torch.autograd.grad(memory.loss(features, proxies), features)[0]
    loss = memory.loss(features, proxies)
    memory.update(features, proxies)
    assert torch.equal(torch.autograd.grad(loss, features)[0], expected)
    assert not memory.centroids.requires_grad


def test_the_given_centroids_are_not_written_to() -> None:
    centroids, cluster, camera, features, proxies = batch(9)
    before = centroids.clone()
    CameraProxyMemory(centroids, cluster, camera).update(features, proxies)
    assert torch.equal(centroids, before)


def test_a_picture_is_right_when_its_own_proxy_is_the_nearest_of_all() -> None:
    memory = CameraProxyMemory(torch.eye(3), torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]))
    features = torch.tensor([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9]])
    assert memory.nearest_correct(features, torch.tensor([0, 1, 2])) == 3
    # The other camera's proxy of the same person is not its own.
    assert memory.nearest_correct(features, torch.tensor([1, 1, 0])) == 1


def partners_by_loops(centroids: Tensor, camera: Tensor) -> Tensor:
    def nearest(p: int, c: int) -> int:
        there = [q for q in range(len(camera)) if camera[q] == c]
        return max(there, key=lambda q: float(centroids[p] @ centroids[q]))

    found = torch.full((len(camera), int(camera.max()) + 1), -1)
    for p in range(len(camera)):
        for c in set(camera.tolist()) - {int(camera[p])}:
            q = nearest(p, c)
            if nearest(q, int(camera[p])) == p:
                found[p, c] = q
    return found


def test_partners_are_each_others_nearest_across_cameras() -> None:
    centroids, _, camera, _, _ = batch(5)
    camera = torch.where(camera == 1, 3, camera)  # a camera that nobody is seen by
    assert torch.equal(mutual_partners(centroids, camera), partners_by_loops(centroids, camera))
    nobody = mutual_partners(torch.empty(0, 4), torch.empty(0, dtype=torch.int64))
    assert nobody.shape == (0, 0)


@pytest.mark.parametrize("negatives", ["own_camera", "auto"])
def test_some_proxies_of_other_clusters_are_no_negatives(negatives: str) -> None:
    centroids, cluster, camera, features, proxies = batch(2)
    partners = mutual_partners(centroids, camera)
    memory = CameraProxyMemory(
        centroids,
        cluster,
        camera,
        intra_weight=0,
        inter_weight=1,
        hard_negatives=6,
        negatives=negatives,
        partners=partners,
    )
    total = features.new_zeros(())
    for f, y in zip(features, proxies, strict=True):
        scores = (centroids @ f / 0.07).exp()
        others = [p for p in range(len(camera)) if cluster[p] != cluster[y]]
        if negatives == "auto":
            others = [p for p in others if p not in partners[y].tolist()]
        else:
            others = [p for p in others if camera[p] == camera[y]]
        hardest = sorted(others, key=lambda p: -scores[p].item())[:6]
        positive = [p for p in range(len(camera)) if cluster[p] == cluster[y]]
        each = -(scores[positive] / scores[positive + hardest].sum()).log().mean()
        total = total + each / sum(int(camera[y] == camera[other]) for other in proxies)
    torch.testing.assert_close(memory.loss(features, proxies), total)


def test_the_online_term_draws_to_the_own_proxy_and_its_partners() -> None:
    centroids, cluster, camera, features, proxies = batch(4)
    partners = mutual_partners(centroids, camera)
    memory = CameraProxyMemory(
        centroids,
        cluster,
        camera,
        intra_weight=0,
        inter_weight=0,
        partners=partners,
        online_weight=2.0,
    )
    total, alone = features.new_zeros(()), 0
    for f, y in zip(features, proxies, strict=True):
        similar = [p for p in partners[y].tolist() if p != -1]
        alone += not similar
        if not similar:
            continue
        mixed = 0.15 * (centroids @ f) + 0.85 * (centroids @ centroids[y])
        best = [int(y), *sorted(similar, key=lambda p: -mixed[p].item())[:2]]
        rest = [p for p in range(len(camera)) if p != y and p not in similar]
        rest = sorted(rest, key=lambda p: -mixed[p].item())[:50]
        scores = (centroids @ f / 0.05).exp()
        each = -(scores[best] / scores[best + rest].sum()).log().mean()
        total = total + 2 * each / sum(int(camera[y] == camera[other]) for other in proxies)
    assert 0 < alone < len(proxies)
    torch.testing.assert_close(memory.loss(features, proxies), total)
