"""Claims about fedklpr_flwr.client.site_policy: at a real site its owner has the last word."""

import pytest

from fedklpr_flwr.client.site_policy import SitePolicy, site_settings
from fedklpr_flwr.config.compose import compose_settings
from fedklpr_flwr.errors import SettingsError

CAREFUL = {"policy-identities": False, "policy-scores": False, "policy-digits": 2}


def test_a_silent_node_toml_allows_everything_and_changes_nothing():
    policy, said = SitePolicy.of_node({"client": "gate"}), {"loss": 1.23456, "map": 0.5}
    assert policy == SitePolicy(identities=True, scores=True, digits=None)
    assert (policy.limited(said), policy.words()) == (said, "")


def test_scores_stay_at_home_and_figures_are_rounded_to_the_digits():
    said = {"loss": 1.2345, "map": 0.5, "rank1_final": 0.4, "examples": 1234, "crr": "off"}
    said |= {"seconds": {"train": 98.76}, "idle": False}
    assert SitePolicy.of_node(CAREFUL).limited(said) == {
        "loss": 1.2,
        "examples": 1234,
        "crr": "off",
        "seconds": {"train": 99.0},
        "idle": False,
    }


def test_what_is_held_back_is_told_in_words():
    assert SitePolicy.of_node(CAREFUL).words() == (
        "no training with persons' names, no scores, figures of 2 digits"
    )


@pytest.mark.parametrize(
    "node", [{"policy-scores": "no"}, {"policy-digits": 0}, {"policy-digits": True}]
)
def test_a_policy_that_cannot_be_read_is_refused(node):
    with pytest.raises(SettingsError, match=r"expected .* in node\.toml"):
        SitePolicy.of_node(node)


def test_a_site_that_trains_without_names_refuses_a_run_that_needs_them(tiny_settings):
    with pytest.raises(SettingsError, match=r"labels\.source=identities: this site's policy"):
        site_settings(tiny_settings(), SitePolicy(identities=False))


def test_a_site_that_tells_no_scores_refuses_a_run_whose_recovery_tells_one(tiny_settings):
    held = tiny_settings("crr.accuracy=heldout", "labels.source=identities")
    assert site_settings(held, SitePolicy()).crr.accuracy == "heldout"
    with pytest.raises(SettingsError, match=r"crr\.accuracy=heldout: this site's policy"):
        site_settings(held, SitePolicy(scores=False))


def test_a_real_site_is_one_and_its_places_are_its_own_whatever_the_server_says():
    words = ("deployment=false", "run.memory=/theirs", "run.dir=/theirs", "data.cache=/theirs")
    own = site_settings(compose_settings("smoke", (*words, "data.root=/theirs")), SitePolicy())
    assert own.deployment
    assert (own.run.memory, own.run.dir, own.resume) == (None, None, None)
    assert (own.data.root, own.data.cache) == (None, None)


def test_a_real_site_opens_no_file_of_weights_that_the_server_names():
    for asked, obeyed in (("/etc/shadow", None), ("imagenet", "imagenet"), ("null", None)):
        words = (f"model.weights={asked}", "deployment=true")
        assert site_settings(compose_settings("smoke", words), SitePolicy()).model.weights == obeyed
    at_home = ("model.weights=/etc/shadow", "method.personal_parts=batchnorm")
    with pytest.raises(SettingsError, match=r"model\.weights=.* that file is not opened"):
        site_settings(compose_settings("smoke", at_home), SitePolicy())


def test_what_only_a_simulation_may_do_is_refused_though_the_server_calls_it_one():
    asked = compose_settings("smoke", ("method=centralised", "deployment=false"))
    with pytest.raises(SettingsError, match=r"data\.join"):
        site_settings(asked, SitePolicy())
