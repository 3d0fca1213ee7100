"""Claims about fedklpr_flwr.config.run_config: settings travel resolved, nothing is looked up."""

import pytest

from fedklpr_flwr.config.compose import compose_settings, load_settings
from fedklpr_flwr.config.run_config import refuse_lookups, resolved_text
from fedklpr_flwr.errors import SettingsError


@pytest.mark.parametrize("experiment", ["smoke", "many", "drawn_final"])
def test_resolved_settings_read_back_to_the_same_ones(experiment):
    settings = compose_settings(experiment, ("pruning.rate=0.123456789",))
    carried = {"experiment": "drawn", "overrides": "seed=9", "settings": resolved_text(settings)}
    assert load_settings(carried) == settings, "what is resolved alone counts"


def test_what_is_written_out_is_never_looked_up(monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    text = resolved_text(compose_settings("smoke")).replace('"fast"', '"${oc.env:SECRET}"')
    with pytest.raises(SettingsError, match=r"wire\.level") as error:
        load_settings({"settings": text})
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_settings_that_are_none_are_refused(text):
    with pytest.raises(SettingsError, match="the run's settings are no"):
        load_settings({"settings": text})


LOOKUPS = (
    "wire.level=${oc.env:SECRET,fast}",
    r"wire.level=$\{oc.env\:SECRET,fast\}",
    r"data.clients=[{name: gate, reader: $\{oc.env\:SECRET\}, folder: null}]",
    "+model@seed=../../../../etc/app",
    "model=../../../../etc/app",
    "model=sub/choice",
    "method=/etc/passwd",
    "hydra.searchpath=[file:///etc]",
    "+hydra/launcher=joblib",
    "hydra@x=y",
    "../x=y",
    "+model@seed=small",
)


@pytest.mark.parametrize("override", LOOKUPS)
def test_an_override_that_would_read_the_sites_machine_is_refused_without_its_value(override):
    with pytest.raises(SettingsError, match="is not taken from a server") as error:
        refuse_lookups(("seed=1", override))
    value = override.partition("=")[2]
    assert len(value) < 2 or value not in str(error.value)


def composed_at_a_site(override):
    refuse_lookups((override,))
    return compose_settings("smoke", (override,))


@pytest.mark.parametrize(
    "value",
    [
        r"$\{oc.env\:SECRET\}",
        r"'$\{oc.env:SECRET}'",
        r"$\\\{oc.env\:SECRET\}",
        r"str($\{oc.env\:SECRET\})",
        r"'$' {oc.env:SECRET}",
        r"json_str(['$', {'oc.env': SECRET}])",
    ],
)
def test_no_way_of_writing_a_lookup_reads_the_environment(value, monkeypatch):
    """What passes is no lookup to Hydra and OmegaConf either."""
    monkeypatch.setenv("SECRET", "hunter2")
    override = f"wire.level={value}"
    with pytest.raises(SettingsError) as error:
        composed_at_a_site(override)
    assert "hunter2" not in str(error.value)


def test_ordinary_overrides_pass():
    refuse_lookups((r"data.root=/srv/\$a \(new\)", r"data.cache='C:\$x{y}'"))
    refuse_lookups(
        ("method=fedavg", "data.root=/srv/a", "+x.y=1", "data.clients=[{name: a}]", "seed")
    )
