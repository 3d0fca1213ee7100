"""Claims about fedklpr_flwr.client.label_source: where an epoch's labels come from."""

from dataclasses import replace

import pytest
import torch

from fedklpr_flwr.client.label_source import (
    appearance_of,
    compared_features,
    label_figures,
    label_site,
    neighbours_by_camera,
    picture_copies,
)
from fedklpr_flwr.model.personal_model import reestimate_on
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.site import Pictures, Site, join_sites
from fedklpr_flwr.reid.camera_jaccard import CameraNeighbours
from fedklpr_flwr.reid.colour_stripes import colour_stripes
from fedklpr_flwr.reid.network import build_network
from fedklpr_flwr.reid.track_clusters import Tracks


def site_of(pictures, persons):
    """A site of that many pictures of that many persons; 0 = unlabelled."""
    who = torch.arange(pictures) % persons if persons else torch.full((pictures,), -1)
    train = Pictures(torch.zeros(pictures, 3, 1, 1, dtype=torch.uint8), who, who * 0)
    nothing = train.subset(torch.tensor([], dtype=torch.int64))
    return Site("x", train, nothing, nothing)


@pytest.mark.parametrize(
    ("pictures", "persons", "copies"),
    [
        (632, 316, 10),  # VIPeR
        (450, 93, 4),  # 3DPeS
        (1940, 485, 5),  # CUHK01
        (248, 59, 5),  # iLIDS-VID
        (7365, 767, 2),  # CUHK03
        (3744, 285, 2),  # PRID
        (12936, 751, 1),  # Market-1501
        (16522, 702, 1),  # DukeMTMC
    ],
)
def test_copies_are_the_baselines_table(pictures, persons, copies, tiny_settings):
    """FedCAPR's repetition, the row of 20 pictures an identity."""
    assert picture_copies(site_of(pictures, persons), tiny_settings()) == copies


def test_the_operators_number_of_persons_serves_where_nobody_is_labelled(tiny_settings):
    assert picture_copies(site_of(632, 0), tiny_settings("ide.persons=316")) == 10
    assert picture_copies(site_of(632, 0), tiny_settings()) == 1


def test_target_zero_and_an_empty_site_repeat_nothing(tiny_settings):
    assert picture_copies(site_of(632, 316), tiny_settings("ide.target=0")) == 1
    assert picture_copies(site_of(0, 0), tiny_settings("ide.persons=5")) == 1


def two_groups():
    """Six pictures in two tight groups: unit rows."""
    angles = torch.tensor([0.0, 0.01, 0.02, 1.5, 1.51, 1.52])
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_clusters_find_groups_whoever_is_on_the_pictures(tiny_settings):
    chosen = ("labels.source=clusters", "labels.k1=4", "labels.k2=1", "labels.min_samples=2")
    found = label_site(site_of(6, 0), two_groups(), 1, tiny_settings(*chosen))
    assert found.clusters == 2
    labels = found.labels.tolist()
    assert labels[0] == labels[1] == labels[2] != labels[3] == labels[4] == labels[5]


def test_identities_are_the_persons_whatever_the_pictures_show(tiny_settings):
    found = label_site(site_of(6, 3), two_groups(), 1, tiny_settings("labels.source=identities"))
    assert (found.labels.tolist(), found.clusters, found.outliers) == ([0, 1, 2, 0, 1, 2], 3, 0)


def test_labels_stand_against_the_persons_that_are_known(tiny_settings):
    """Two persons by two cameras, clustered by camera; a fifth picture shows nobody knows whom."""
    who, where = torch.tensor([1, 1, 2, 2, -1]), torch.tensor([0, 1, 0, 1, 0])
    train = Pictures(torch.zeros(5, 3, 1, 1, dtype=torch.uint8), who, where)
    nothing = train.subset(torch.tensor([], dtype=torch.int64))
    site, by_camera = Site("x", train, nothing, nothing), torch.tensor([0, 1, 0, 1, 0])
    assert label_figures(by_camera, site, tiny_settings()) == {
        "cluster_precision": 0.0,
        "cluster_recall": 0.0,
        "camera_split": 1.0,
        "camera_span": 0.0,
    }
    by_person = torch.tensor([0, 0, 1, 1, 1])
    said = label_figures(by_person, site, tiny_settings())
    assert set(said.values()) == {0.0, 1.0}
    assert said["camera_span"] == 1.0
    assert label_figures(by_person, site, tiny_settings())["camera_split"] == 0.0


def test_nothing_is_said_of_unknown_people_or_in_a_deployment(tiny_settings):
    unsaid = dict.fromkeys(("cluster_precision", "cluster_recall", "camera_split", "camera_span"))
    labels = torch.tensor([0, 0, 1, 1])
    assert label_figures(labels, site_of(4, 0), tiny_settings()) == unsaid
    assert label_figures(labels, site_of(4, 2), tiny_settings("deployment=true")) == unsaid
    assert label_figures(labels, site_of(4, 2), tiny_settings()) != unsaid


def test_neighbours_by_camera_are_no_more_than_a_person_has_pictures(tiny_settings):
    def site_by(pictures, persons, cameras):
        site = site_of(pictures, persons)
        where = torch.arange(pictures) // max(1, persons) % cameras
        return replace(site, train=replace(site.train, cameras=where))

    asked = tiny_settings("labels.neighbours=by_camera")
    assert neighbours_by_camera(site_by(96, 3, 4), tiny_settings()) is None
    assert neighbours_by_camera(site_by(96, 0, 4), asked) == CameraNeighbours()
    assert neighbours_by_camera(site_by(96, 3, 4), asked) == CameraNeighbours(5, 20, 2, 4)
    assert neighbours_by_camera(site_by(32, 8, 2), asked) == CameraNeighbours(1, 2, 2, 2)
    told = tiny_settings("labels.neighbours=by_camera", "ide.persons=16")
    assert neighbours_by_camera(site_by(32, 0, 2), told) == CameraNeighbours(0, 1, 1, 1)


def test_each_camera_is_looked_at_with_batch_norm_of_its_own(tiny_settings, tiny_site):
    network = build_network("small", weights=None, generator_seed=0)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    settings = tiny_settings("labels.camera_batchnorm=true")
    found = appearance_of(network, tiny_site, settings).compared
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    plain = features_of(network, tiny_site.train)
    for camera in set(tiny_site.train.cameras.tolist()):
        own = tiny_site.train.cameras == camera
        there = build_network("small", weights=None, generator_seed=0)
        alone = replace(tiny_site, train=tiny_site.train.subset(torch.nonzero(own).flatten()))
        if len(alone.train) >= 10:
            reestimate_on(there, alone)
        torch.testing.assert_close(found[own], features_of(there, alone.train))
    assert not torch.equal(found, plain)
    train = replace(tiny_site.train, cameras=tiny_site.train.cameras * 0)
    one = replace(tiny_site, train=train)
    assert torch.equal(appearance_of(network, one, settings).compared, plain)


def test_pictures_of_a_track_get_one_label_unless_tracks_are_ignored(tiny_settings):
    """Six pictures of two groups; a tracker followed one person from the first to the second."""
    site = site_of(6, 0)
    tracks = Tracks(torch.tensor([0, 0, 1, 1, 2, 2]), torch.full((6,), -1))
    site = replace(site, train=replace(site.train, tracks=tracks))
    words = ("labels.source=clusters", "labels.k1=3", "labels.k2=1", "labels.min_samples=2")
    found = label_site(site, two_groups(), 1, tiny_settings(*words)).labels
    assert all(found[i] == found[i + 1] for i in (0, 2, 4))
    ignored = label_site(site, two_groups(), 1, tiny_settings(*words, "labels.tracks=ignored"))
    plain = label_site(site_of(6, 0), two_groups(), 1, tiny_settings(*words))
    assert ignored.labels.tolist() == plain.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_sites_that_are_joined_keep_their_tracks_apart(tiny_site):
    count = len(tiny_site.train)
    tracks = Tracks(torch.arange(count) // 2, torch.arange(count))
    followed = replace(tiny_site, train=replace(tiny_site.train, tracks=tracks))
    joined = join_sites("all", [tiny_site, followed, followed]).train.tracks
    assert joined is not None
    first, second = tracks.of_picture, tracks.of_picture + int(tracks.of_picture.max()) + 1
    assert joined.of_picture.tolist() == [-1] * count + first.tolist() + second.tolist()
    assert joined.first.tolist() == [-1] * count + 2 * list(range(count))
    assert join_sites("all", [tiny_site, tiny_site]).train.tracks is None


def dressed(colours, cameras=None):
    """A site of pictures of one colour each, two cameras in turn where nobody says."""
    pixels = torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].repeat(1, 1, 16, 8)
    where = torch.tensor(cameras) if cameras else torch.arange(len(colours)) % 2
    train = Pictures(pixels, torch.full((len(colours),), -1), where)
    nothing = train.subset(torch.tensor([], dtype=torch.int64))
    return Site("x", train, nothing, nothing)


def compared(features, site, settings):
    """What pictures are compared by, without stripes."""
    return compared_features(features, None, site.train, settings)


RED, BLUE = (200, 20, 20), (20, 20, 200)


def test_people_whom_the_network_cannot_tell_apart_are_told_by_their_clothes(tiny_settings):
    site, alike = dressed([RED, RED, RED, BLUE, BLUE, BLUE], [0] * 6), torch.ones(6, 4) / 2
    chosen = ("labels.source=clusters", "labels.k1=4", "labels.k2=1", "labels.min_samples=2")
    assert label_site(site, alike, 1, tiny_settings(*chosen)).clusters == 1
    settings = tiny_settings(*chosen, "labels.colour=0.4")
    found = label_site(site, compared(alike, site, settings), 1, settings)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_colours_have_their_share_of_the_squared_distance(tiny_settings):
    site, features = dressed([RED, BLUE, RED, RED]), torch.eye(4)[[0, 0, 1, 2]]
    looks = compared(features, site, tiny_settings("labels.colour=0.3"))
    torch.testing.assert_close(looks.norm(dim=1), torch.ones(4))
    clothes = colour_stripes(site.train.pixels)
    expected = 0.7 * torch.cdist(features, features) ** 2 + 0.3 * torch.cdist(clothes, clothes) ** 2
    torch.testing.assert_close(torch.cdist(looks, looks) ** 2, expected, atol=1e-5, rtol=0)


def test_without_colours_nothing_but_the_features_is_compared(tiny_settings):
    features = torch.eye(4)
    assert compared(features, dressed([RED] * 4), tiny_settings()) is features


def test_what_a_camera_shows_behind_everybody_is_taken_out(tiny_settings):
    """Ten people in red and ten in blue; the floor is grey before one camera, green before two."""
    site = dressed([RED, BLUE] * 20, [0] * 20 + [1] * 20)
    site.train.pixels[:20, :, 8:] = 120
    site.train.pixels[20:, :, 8:] = torch.tensor([20, 160, 20], dtype=torch.uint8)[:, None, None]

    def across(camera, other):
        settings = tiny_settings("labels.colour=1", f"labels.camera={camera}")
        looks = compared(torch.eye(40), site, settings)
        return float(looks[0] @ looks[other])

    assert across("none", 20) == pytest.approx(0.5, abs=0.01)
    assert across("zscore", 20) == pytest.approx(1, abs=0.01)
    assert across("zscore", 21) == pytest.approx(-1, abs=0.01)


@pytest.mark.parametrize("camera", ["none", "zscore"])
def test_stripes_have_their_share_of_the_squared_distance(tiny_settings, tiny_site, camera):
    network, train = build_network("small", weights=None, generator_seed=0), tiny_site.train
    word = f"labels.camera={camera}"
    plain = appearance_of(network, tiny_site, tiny_settings(word))
    half = appearance_of(network, tiny_site, tiny_settings(word, "labels.stripes=0.5"))
    whole = appearance_of(network, tiny_site, tiny_settings(word, "labels.stripes=1"))
    torch.testing.assert_close(half.features, features_of(network, train))
    torch.testing.assert_close(half.compared.norm(dim=1), torch.ones(len(train)))
    squared = [torch.cdist(one.compared, one.compared) ** 2 for one in (plain, half, whole)]
    torch.testing.assert_close(squared[1], (squared[0] + squared[2]) / 2, atol=1e-4, rtol=0)
    assert float((squared[0] - squared[2]).abs().max()) > 0.1


def test_people_dressed_alike_but_for_where_the_colours_are_differ_in_their_stripes(tiny_settings):
    """Red above blue, and blue above red; to the network's last stage all pictures are one."""
    site = dressed([RED] * 3 + [BLUE] * 3, [0] * 6)
    pixels = site.train.pixels.repeat(1, 1, 2, 2).clone()
    pixels[:3, :, 16:] = torch.tensor(BLUE, dtype=torch.uint8)[:, None, None]
    pixels[3:, :, 16:] = torch.tensor(RED, dtype=torch.uint8)[:, None, None]
    site = replace(site, train=replace(site.train, pixels=pixels))
    network = build_network("small", weights=None, generator_seed=0)
    with torch.no_grad():
        network.neck.weight.zero_()
        network.neck.bias[0] = 1
    chosen = ("labels.source=clusters", "labels.k1=4", "labels.k2=1", "labels.min_samples=2")
    found = []
    for share in (0, 0.5):
        settings = tiny_settings(*chosen, f"labels.stripes={share}")
        seen = appearance_of(network, site, settings)
        found.append(label_site(site, seen.compared, 1, settings))
    assert found[0].clusters == 1
    assert found[1].labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_stripes_are_of_each_cameras_own_batch_norm_where_features_are(tiny_settings, tiny_site):
    network = build_network("small", weights=None, generator_seed=0)
    words = ("labels.camera_batchnorm=true", "labels.stripes=1")
    found = appearance_of(network, tiny_site, tiny_settings(*words))
    usual = appearance_of(network, tiny_site, tiny_settings(words[1]))
    torch.testing.assert_close(found.features, usual.features)
    assert not torch.allclose(found.compared, usual.compared)


def test_as_if_a_tracker_had_followed_each_person_through_each_camera(tiny_settings):
    """Two persons by two cameras, twice each, from ahead and from behind; and a stranger."""
    persons = torch.tensor([3, 3, 3, 3, 5, 5, 5, 5, -1, -1])
    cameras = torch.tensor([0, 0, 1, 1, 0, 0, 1, 1, 0, 1])
    site, views = site_of(10, 0), torch.eye(2)[torch.arange(10) % 2]
    site = replace(site, train=replace(site.train, persons=persons, cameras=cameras))
    words = ("labels.source=clusters", "labels.k1=4", "labels.k2=1", "labels.min_samples=2")
    plain = label_site(site, views, 1, tiny_settings(*words)).labels
    assert not bool((plain[0:8:2] == plain[1:8:2]).any())
    found = label_site(site, views, 1, tiny_settings(*words, "labels.tracks=persons")).labels
    assert torch.equal(found[0:8:2], found[1:8:2])
    assert bool((found[:8] >= 0).all())
