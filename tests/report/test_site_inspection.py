"""Claims about ranked lists: whose model, which queries, and where pictures are never shown."""

import shutil
from dataclasses import replace

import pytest
import torch
from pages import Page

from fedklpr_flwr.config.compose import read_settings
from fedklpr_flwr.errors import SettingsError
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.shared_model import initial_network
from fedklpr_flwr.model.site import open_site
from fedklpr_flwr.report.html_report import html_report
from fedklpr_flwr.report.ranked_lists import LENGTH, ranked_queries
from fedklpr_flwr.report.site_inspection import Look, clients_in_sight, look_at_sites
from fedklpr_flwr.runs.trained_models import open_run
from fedklpr_flwr.runs.trusted_runs import write_own_settings
from fedklpr_flwr.system.paths import user_cache

ALL = Look(queries=50)


def seen_in(folder, look=ALL):
    settings, clients, _ = clients_in_sight(folder, look)
    return list(look_at_sites(folder, settings, clients, look))


def changed(run, tmp_path, **groups):
    """A copy of a run folder whose settings say something else."""
    folder = shutil.copytree(run.folder, tmp_path / "run")
    settings = read_settings(folder / "config.yaml")
    write_own_settings(replace(settings, **groups), folder)
    return folder


def test_before_and_after_are_the_models_that_the_run_scored(undisturbed):
    """Over all queries, a list's first picture is right as often as run.jsonl's Rank-1 says."""
    found = seen_in(undisturbed.folder)
    assert [one.name for one in found] == ["ash", "birch"]
    for one in found:
        assert one.queries
        for moment, number in (("before", 0), ("after", 2)):
            lists = [getattr(query, moment) for query in one.queries]
            share = sum(ranked.first_right == 1 for ranked in lists) / len(lists)
            assert share == pytest.approx(undisturbed.row(number, one.name).rank1)
            assert all(ranked.found[0].right == (ranked.first_right == 1) for ranked in lists)


def test_persons_are_counted_also_where_no_model_can_be_opened(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed.folder, tmp_path / "run")
    (folder / "global.safetensors").unlink()
    ash, birch = seen_in(folder)
    assert (ash.persons, birch.persons) == (6, 4)
    assert ash.queries == ()
    assert "holds no run that can be resumed" in ash.why


def test_a_seed_draws_the_queries_and_the_same_seed_the_same(undisturbed):
    trained = open_run(undisturbed.folder)
    site = open_site(trained.settings.data.clients[0], trained.settings, user_cache())
    model = trained.personal("ash", site)

    def drawn(seed):
        some = ranked_queries(None, model, site, count=2, seed=seed)
        assert len(some) == 2
        return [query.pixels.tobytes() for query in some]

    assert drawn(0) == drawn(0)
    assert any(drawn(0) != drawn(seed) for seed in range(1, 5))


def test_a_list_has_the_ten_nearest_pictures_of_the_gallery(undisturbed):
    settings = read_settings(undisturbed.folder / "config.yaml")
    site = open_site(settings.data.clients[0], settings, user_cache())
    network = initial_network(settings, pretrained=False).eval()
    some = replace(site, gallery=replace_pictures(site, 12))
    (query, *_) = ranked_queries(None, network, some, count=1, seed=0)
    assert query.before is None
    assert len(query.after.found) == LENGTH
    similarities = [found.similarity for found in query.after.found]
    assert similarities == sorted(similarities, reverse=True)
    shown = torch.from_numpy(query.after.found[0].pixels).permute(2, 0, 1)
    places = [n for n in range(12) if torch.equal(some.gallery.pixels[n], shown)]
    asked = torch.from_numpy(query.pixels).permute(2, 0, 1)
    (number,) = [n for n in range(len(site.query)) if torch.equal(site.query.pixels[n], asked)]
    cosines = features_of(network, some.gallery) @ features_of(network, site.query)[number]
    assert cosines[places].tolist() == pytest.approx([similarities[0]])


def replace_pictures(site, count):
    return site.gallery.subset(torch.arange(count))


def test_a_deployments_people_are_not_looked_at_from_the_server(undisturbed, tmp_path):
    folder = changed(undisturbed, tmp_path, deployment=True)
    page = html_report(folder, Look())
    assert "data:image" not in page
    assert "The pictures lie at the sites" in Page(page).text
    assert "holds pictures" not in page


def test_on_its_own_machine_a_site_sees_its_own_pictures_alone(undisturbed, tmp_path, sites):
    folder = changed(undisturbed, tmp_path, deployment=True)
    page = html_report(folder, Look(site="ash", reader="folder", root=sites / "ash"))
    assert "data:image" in page
    assert "holds pictures" in page
    assert {"ash"} == {one.name for one in seen_in(folder, Look(site="ash"))}


@pytest.mark.parametrize(("said", "asked"), [(False, None), (True, False)])
def test_report_pictures_false_leaves_people_out(undisturbed, tmp_path, said, asked):
    report = replace(read_settings(undisturbed.folder / "config.yaml").report, pictures=said)
    page = html_report(changed(undisturbed, tmp_path, report=report), Look(pictures=asked))
    assert "data:image" not in page
    assert "report.pictures=false" in Page(page).text
    assert Page(page).classes("badge") == []


def test_a_verdict_has_a_sign_and_a_word_beside_its_colour(undisturbed):
    page = Page(html_report(undisturbed.folder, ALL))
    verdicts = {(a["title"], tag) for tag, a in page.tags if a.get("class") == "badge"}
    assert {title for title, _ in verdicts} == {"same person", "somebody else"}
    assert "✓" in page.text
    assert "✗" in page.text
    assert "after round 2" in page.text
    assert len(page.classes("right")) + len(page.classes("wrong")) == len(page.classes("badge"))


def test_pictures_that_are_not_here_are_a_reason_and_no_error(undisturbed, tmp_path):
    data = replace(read_settings(undisturbed.folder / "config.yaml").data, root="/nowhere")
    page = Page(html_report(changed(undisturbed, tmp_path, data=data), Look()))
    assert "/nowhere" in page.text
    assert page.named("img") == []


def test_a_site_that_is_not_of_the_run_is_refused_with_those_that_are(undisturbed):
    with pytest.raises(SettingsError, match=r"--site oak: .* has ash, birch"):
        html_report(undisturbed.folder, Look(site="oak"))


def test_a_folder_that_the_command_line_names_is_not_taken_for_proven(undisturbed, sites):
    look = Look(site="ash", reader="folder", root=sites / "birch")
    said = "the run cannot tell whether they are those that ash trained on"
    assert said in Page(html_report(undisturbed.folder, look)).text
    assert said not in Page(html_report(undisturbed.folder, Look(site="ash"))).text


def test_a_site_that_never_took_part_is_refused_whatever_folder_it_has(undisturbed, sites):
    look = Look(site="oak", reader="folder", root=sites / "ash")
    with pytest.raises(SettingsError, match=r"--site oak: nobody .* has ash, birch"):
        html_report(undisturbed.folder, look)
