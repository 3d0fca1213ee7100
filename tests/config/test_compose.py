"""Claims about the settings: what conf/ composes to, and what is said of bad input."""

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from omegaconf import OmegaConf

from fedklpr_flwr.config.compose import (
    compose,
    compose_settings,
    configuration_folder,
    experiment_names,
    load_settings,
    read_settings,
    settings_from,
    settings_to_dict,
    write_settings,
)
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import FedKlprError, SettingsError
from fedklpr_flwr.launch.command_line import PATH_KEYS, override, split_arguments
from fedklpr_flwr.launch.prepare import prepare

CONF = configuration_folder()
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
CHOSEN_BY_THE_CONTRACT = {
    "experiment": {"drawn", "smoke", "real_small", "real_small_unlabelled", "many"}
    | {"paper_resnet50", "paper_resnet34"},
    "method": {"fedklpr", "fedavg", "local_only"},
}


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def sites_for(choice):
    """What an experiment, or a choice of conf/data, leaves to whoever runs it."""
    two = ",".join(f"{{name: {n}, reader: folder, folder: {n}}}" for n in ("gate", "yard"))
    return ("data.root=/sets", *([f"data.clients=[{two}]"] if choice == "own" else []))


# ---------------------------------------------------------------------------- what it composes to


def test_there_are_experiments_and_methods_to_compose():
    for group, names in CHOSEN_BY_THE_CONTRACT.items():
        assert names <= set(choices(group))
    assert experiment_names() == tuple(choices("experiment"))


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes(experiment):
    composed = compose_settings(experiment, sites_for(experiment))
    assert composed.experiment == experiment
    assert composed.data.clients


@pytest.mark.parametrize("method", choices("method"))
def test_every_method_composes_and_is_called_as_its_file(method):
    assert compose_settings("smoke", (f"method={method}",)).method.name == method


@pytest.mark.parametrize(
    ("group", "choice"),
    [(g, c) for g in GROUPS if g not in ("experiment", "method") for c in choices(g)],
)
def test_every_choice_of_every_group_composes(group, choice):
    assert compose_settings("drawn", (f"{group}={choice}", *sites_for(choice))).data.clients


def test_the_default_is_the_drawn_experiment_with_fedklpr():
    settings = load_settings({})
    assert (settings.experiment, settings.method.name) == ("drawn", "fedklpr")
    assert len(settings.data.clients) == 8


def test_the_methods_differ_in_nothing_but_their_own_choices():
    """A comparison is fair only where all train on one budget, one network and one wire.

    FedKLPR+ alone brings a wire of its own: what it sends in place of a prune.
    """
    shared = {"seed", "training", "model", "wire", "federation", "ide", "report", "run"}
    for method in choices("method"):
        values = yaml.safe_load((CONF / "method" / f"{method}.yaml").read_text())
        if method == "fedklprplus":
            assert values.pop("wire") == {"values": "change"}
        assert values.keys() & shared == set(), method
        assert values.get("data", {}).keys() <= {"join"}, method
        assert values.get("labels", {}).keys() <= {"source"}, method


def test_the_settings_say_every_key_that_the_contract_names():
    known = {path for path, _ in leaves(settings_to_dict(compose_settings("drawn")))}
    keys = """seed run.dir resume data.root model.weights training.threads federation.rounds
        federation.fraction federation.min_clients federation.wait_seconds pruning.rate
        pruning.target wire.values wire.level report.pictures"""
    assert set(keys.split()) <= known


PAPER = {"paper_resnet50": "resnet50", "paper_resnet34": "resnet34"}


@pytest.mark.parametrize("experiment", PAPER)
def test_the_papers_experiments_are_its_sets_its_network_and_its_budget(experiment):
    """Eight sets of FedReID's tables, FedCAPR's training, the schedule of the published saving."""
    settings = compose_settings(experiment, ("data.root=/sets",))
    assert [client.reader for client in settings.data.clients] == [
        *("dukemtmc", "market1501", "cuhk03", "prid2011"),
        *("cuhk01", "viper", "3dpes", "ilids_vid"),
    ]
    model, training, pruning = settings.model, settings.training, settings.pruning
    assert (model.backbone, model.weights) == (PAPER[experiment], "imagenet")
    assert (model.height, model.width, model.stem_relu) == (256, 128, False)
    assert (training.epochs, training.persons * training.pictures) == (5, 32)
    assert (training.learning_rate, training.weight_decay) == (3.5e-4, 5e-4)
    assert (training.lr_drop_round, training.lr_drop_factor) == (6, 0.1)
    assert (training.final_epochs, training.final_drops) == (50, (20, 40))
    assert training.learning_rate * training.final_factor == pytest.approx(3.5e-5)
    assert (pruning.rate, pruning.target) == (0.1, 0.5)
    assert (pruning.first_round, pruning.after) == (2, None)
    assert (settings.federation.rounds, settings.federation.fraction) == (20, 1.0)
    assert (settings.labels.source, settings.method.name) == ("clusters", "fedklpr")


@pytest.mark.parametrize("experiment", PAPER)
def test_every_value_of_the_papers_experiments_says_where_it_is_from(experiment):
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    below = text.split("\nexperiment_name:")[1].splitlines()[1:]
    values = [line for line in below if re.match(r" +[a-z_0-9]+: +[^ #]", line)]
    assert experiment == "paper_resnet34" or len(values) > 40
    said = re.compile(r"#.*\[(paper|code|tables|ours)\]")
    assert [line for line in values if not said.search(line)] == []


def leaves(values, path=""):
    for key, value in values.items():
        where = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict):
            yield from leaves(value, where)
        else:
            yield where, value


# ---------------------------------------------------------------------------- comments


def keys_with_comments(path):
    """Every key of a YAML file by its dotted name, and whether its line says what it means."""
    found, way = {}, []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"( *)([a-z_0-9]+):(\s*#.*|\s*$|\s.*)", line)
        if not match:
            continue
        depth = len(match[1]) // 2
        way = [*way[:depth], match[2]]
        is_a_group = not match[3].split("#")[0].strip()
        if not is_a_group or match[2] == "clients":
            found[".".join(way)] = "#" in match[3]
    return found


def test_every_key_of_the_main_configuration_has_a_comment():
    keys = keys_with_comments(CONF / "config.yaml")
    assert len(keys) > 10
    assert [key for key, said in keys.items() if not said] == []


def test_every_group_of_settings_has_its_files():
    kinds = {item.name: item.type for item in dataclasses.fields(Settings)}
    groups = {name for name, kind in kinds.items() if dataclasses.is_dataclass(kind)}
    assert groups - {"run"} <= set(GROUPS), "run, alone, is said in conf/config.yaml"


GLOBAL = "# @package _global_"


def keys_of_group(group):
    """The keys of each file of a group by their whole names, and whether they are commented."""
    files = []
    for path in (CONF / group).glob("*.yaml"):
        whole = "" if path.read_text(encoding="utf-8").startswith(GLOBAL) else f"{group}."
        files.append({f"{whole}{key}": told for key, told in keys_with_comments(path).items()})
    return files


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "experiment"])
def test_every_key_of_a_group_has_a_comment_where_it_is_first_met(group):
    """In one of the group's files; a method's file may also set keys that others have explained."""
    everywhere = [keys_with_comments(CONF / "config.yaml")]
    everywhere += [file for other in GROUPS for file in keys_of_group(other)]
    keys = {key for file in keys_of_group(group) for key in file}
    assert keys
    assert {key for key in keys if not any(file.get(key) for file in everywhere)} == set()


@pytest.mark.parametrize("group", ["experiment", "method"])
def test_every_experiment_and_method_says_how_it_is_run(group):
    for name in choices(group):
        text = (CONF / group / f"{name}.yaml").read_text(encoding="utf-8")
        head = [line for line in text.splitlines() if line.startswith("#")]
        runs = [line for line in head if "fedklpr " in line or "make run" in line]
        assert runs, f"{group}/{name}.yaml does not say how to run it"
        assert any(f"{group}={name}" in line or "make run" in line for line in runs)


# ---------------------------------------------------------------------------- bad input

BAD = {
    ("experiment=drwan",): ["experiment=drwan", "did you mean drawn", "smoke"],
    ("experiment=",): ["experiment=", "drawn", "smoke"],
    ("method=fedkplr",): ["method=fedkplr", "fedavg", "fedklpr"],
    ("model=resnet101",): ["model=resnet101", "resnet50", "small"],
    ("data=nowhere",): ["data=nowhere", "drawn", "real_small"],
    ("pruning.rat=0.2",): ["pruning.rat=0.2", "did you mean rate", "target"],
    ("prunning.rate=0.2",): ["prunning.rate=0.2", "did you mean pruning"],
    ("sed=1",): ["sed=1", "did you mean seed"],
    ("method.name.first=x",): ["method.name.first=x", "no keys below"],
    ("+extra=1",): ["extra", "seed"],
    ("+pruning.extra=1",): ["pruning.extra", "rate"],
    ("pruning.rate=2",): ["pruning.rate=2", "0.0 to 0.95"],
    ("pruning.rate=-0.1",): ["pruning.rate=-0.1", "0.0 to 0.95"],
    ("pruning.rate=nan",): ["pruning.rate=nan", "0.0 to 0.95"],
    ("pruning.rate=much",): ["pruning.rate='much'", "a number"],
    ("pruning.rate=[0.1,0.2]",): ["pruning.rate=[0.1, 0.2]", "a number"],
    ("pruning.rate=0.1,0.2",): ["pruning.rate=0.1,0.2", "fedklpr_flwr.sweep -m"],
    ("pruning.rate=${nowhere}",): ["pruning.rate=${nowhere}", "nowhere"],
    ("pruning.depthwise=1",): ["pruning.depthwise=1", "true or false"],
    ("seed=1.5",): ["seed=1.5", "a whole number"],
    ("seed=",): ["seed=''", "a whole number"],
    ("seed=null",): ["seed=None", "a whole number"],
    ("training.epochs=true",): ["training.epochs=True", "a whole number"],
    ("federation.rounds=0",): ["federation.rounds=0", "at least 1"],
    ("federation.fraction=0",): ["federation.fraction=0", "above 0"],
    ("federation.fraction=1.5",): ["federation.fraction=1.5", "0.0 to 1.0"],
    ("kl.temperature=0",): ["kl.temperature=0", "at least 0.0001"],
    ("method.merge=median",): ["method.merge=median", "masked_mean, plain_mean"],
    ("wire.values=float8",): ["wire.values=float8", "bfloat16"],
    ("crr.accuracy=heldout",): ["crr.accuracy=heldout", "labels.source=identities"],
    ("federation.min_clients=9",): ["federation.min_clients=9", "at most 8"],
    ("data.clients=[]",): ["data.clients=[]", "at least one"],
    ("data.clients=3",): ["data.clients", "3", "a list"],
    ("data.clients=[{name: a, reader: folder}]",): ["data.clients[0].folder", "missing"],
    ("data.clients=[{name: a/b, reader: folder, folder: a}]", "federation.min_clients=1"): [
        "'a/b'",
        "letters",
    ],
    ("data.clients=[{name: a, reader: x, folder: a}, {name: a, reader: x, folder: b}]",): [
        "data.clients",
        "a twice",
    ],
    ("experiment=real_small",): ["data.root", "real_small", "data.root=VALUE"],
    ("experiment=real_small", "data.root=/nowhere/at/all"): ["data.root=/nowhere/at/all"],
    ("model.weights=/nowhere.pth",): ["model.weights=/nowhere.pth", "no such file"],
    ("run.dir=",): ["run.dir=", "a path"],
    ("smoke",): ["KEY=VALUE", "'smoke'"],
    ("=1",): ["KEY=VALUE", "'=1'"],
    ("resume=/nowhere",): ["resume=/nowhere", "not a run folder"],
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_is_one_sentence_with_key_value_and_what_is_allowed(arguments, tmp_path):
    where = () if any(a.startswith("run.dir") for a in arguments) else (f"run.dir={tmp_path}/r",)
    with pytest.raises(FedKlprError) as error:
        prepare([*arguments, *where])
    text = str(error.value)
    for part in BAD[arguments]:
        assert part in text
    assert "\n" not in text
    assert not (tmp_path / "r").exists(), "a run folder was made for a run that cannot start"


def test_a_folder_that_a_client_needs_is_named(tmp_path):
    (tmp_path / "ward").mkdir()
    with pytest.raises(SettingsError, match=r"client viper needs the folder .*viper"):
        prepare(["experiment=real_small", f"data.root={tmp_path}", f"run.dir={tmp_path}/run"])


def test_a_missing_or_foreign_key_of_a_composed_configuration_is_named():
    whole = settings_to_dict(compose_settings("smoke"))
    lacking = {**whole, "pruning": {k: v for k, v in whole["pruning"].items() if k != "rate"}}
    with pytest.raises(SettingsError, match=r"pruning\.rate is missing"):
        settings_from(lacking)
    with pytest.raises(SettingsError, match=r"pruning is 3: expected a group"):
        settings_from({**whole, "pruning": 3})


# ---------------------------------------------------------------------------- there and back

AWKWARD = [
    "/a folder/with spaces",
    "/it's/quoted'",
    '/he said "so"',
    "/key=value/a=b",
    "/straße/日本/ü",
    "/back\\slash\\",
    "/both\\'",
    "/money$/${seed}/$${x}",
    "/list,[a],{b: c}",
    "/hash#colon: x",
    "/???",
    "/~user",
    "/-dash --flag",
    "/tab\there",
]


@pytest.mark.parametrize("path", AWKWARD)
def test_paths_survive_the_way_through_flowers_run_config(path):
    typed = ["experiment=smoke", f"data.root={path}", f"run.dir={path}", f"model.weights={path}"]
    experiment, overrides = split_arguments(typed)
    settings = load_settings({"experiment": experiment, "overrides": shlex.join(overrides)})
    assert (settings.data.root, settings.run.dir, settings.model.weights) == (path, path, path)


@pytest.mark.slow
@trials(max_examples=15, deadline=None)
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12))
def test_an_override_gives_any_text_as_it_is(text):
    overrides = shlex.join([override("run.memory", f"/{text}")])
    assert load_settings({"experiment": "smoke", "overrides": overrides}).run.memory == f"/{text}"


def test_relative_paths_become_absolute_since_flower_runs_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/her")
    _, overrides = split_arguments(["data.root=sets", "run.dir='my runs/1'", "data.cache=~/cache"])
    assert overrides == (
        f"data.root='{tmp_path}/sets'",
        f"run.dir='{tmp_path}/my runs/1'",
        "data.cache='/home/her/cache'",
    )


@pytest.mark.parametrize("key", PATH_KEYS)
def test_null_is_no_path(key):
    assert split_arguments([f"{key}=null"]) == ("drawn", (f"{key}=null",))


def test_the_last_word_is_the_command_lines():
    assert split_arguments(["experiment=smoke", "experiment=drawn"])[0] == "drawn"
    settings = compose_settings("smoke", ("federation.rounds=7", "method=fedavg"))
    assert settings.federation.rounds == 7
    assert settings.method.pruning == "none"


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_written_settings_read_back_equal(experiment, tmp_path):
    odd = (override("data.root", "/it's ${here}: ü"), "pruning.mask_distance=1e-05")
    settings = compose_settings(experiment, (*sites_for(experiment), *odd))
    file = tmp_path / "config.yaml"
    write_settings(settings, file)
    assert read_settings(file) == settings
    assert settings_from(yaml.safe_load(file.read_text(encoding="utf-8"))) == settings


NUMBERS = {"norm_bound": 3.0, "alignment": 0.3, "quarantine": 5, "trim": 0.25}


def test_a_deployments_run_folder_says_the_numbers_of_its_defence(tmp_path):
    boxes = compose_settings("smoke", ("deployment=true",))
    write_settings(boxes, tmp_path / "config.yaml")
    written = yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8"))
    assert (written["defence"], written["klpwa"]["cap"]) == (NUMBERS, 0.5)
    own = compose_settings("smoke", ("deployment=true", "defence.norm_bound=5", "klpwa.cap=0.7"))
    assert (own.defence.norm_bound, own.defence.alignment, own.klpwa.cap) == (5.0, 0.3, 0.7)


def test_a_study_trusts_its_clients_unless_it_takes_the_deployments_defence():
    study = compose_settings("smoke")
    assert (study.defence.norm_bound, study.defence.quarantine, study.klpwa.cap) == (None,) * 3
    defended = compose_settings("smoke", ("defence=deployed",))
    boxes = compose_settings("smoke", ("deployment=true",))
    assert (defended.defence, defended.klpwa) == (boxes.defence, boxes.klpwa)


@pytest.mark.parametrize("deployment", [True, False])
def test_a_null_in_an_old_deployments_folder_means_what_it_meant_then(deployment, tmp_path):
    """As folders of before conf/defence: the numbers stood in the code."""
    values = settings_to_dict(compose_settings("smoke"))
    del values["defence"]["alignment"]  # the oldest have no such key
    values["deployment"] = deployment
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    read = read_settings(tmp_path / "config.yaml")
    assert read == compose_settings("smoke", (f"deployment={str(deployment).lower()}",))


def test_a_file_that_holds_no_settings_is_named(tmp_path):
    for content in (None, "- a list", "key: [unclosed"):
        file = tmp_path / "config.yaml"
        if content:
            file.write_text(content)
        with pytest.raises(SettingsError, match=r"config\.yaml"):
            read_settings(file)


def test_settings_cannot_be_changed_and_can_be_keys():
    settings = compose_settings("smoke")
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 1
    assert hash(settings) == hash(settings_from(settings_to_dict(settings)))
    assert isinstance(settings, Settings)
    assert isinstance(CONF, Path)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed=0,1", "python -m fedklpr_flwr.sweep -m seed=0,1"),
        ("method=fedavg,fedklpr", "python -m fedklpr_flwr.sweep -m method=fedavg,fedklpr"),
        ("method=FedKLPR", "method=FedKLPR does not exist (did you mean fedklpr?)"),
        ("report.wandb=false", "report.wandb=False: expected one of off, offline, online"),
        ("data.clients={name: a}", "expected a list, a group of keys or a single one"),
        ("pruning.rate=0,2", "a decimal number has a point, pruning.rate=0.2"),
        ("training.learning_rate=3,5e-4", "has a point, training.learning_rate=3.5e-4"),
        ("run.dir=1.10", "put it in quotes"),
        ("run.dir=1e3", "put it in quotes"),
    ],
)
def test_what_cannot_be_kept_as_it_was_written_says_how_to_write_it(word, said):
    with pytest.raises(SettingsError) as caught:
        compose_settings("smoke", (word,))
    assert said in str(caught.value)
    assert "multirun" not in str(caught.value)


def test_a_text_keeps_what_was_written():
    assert compose_settings("smoke", ("run.dir=010",)).run.dir == "010"
    assert compose_settings("smoke", ('run.dir="1.10"',)).run.dir == "1.10"


@pytest.mark.parametrize("written", ["1_000", "+5", "7", "010", "12:30", "0x1F"])
def test_a_text_on_a_command_line_is_what_was_written(written):
    word = f"{{reader: folder, name: a, folder: {written}}}"
    settings = compose_settings(
        "smoke", (f"data.clients=[{word},{{name: b, reader: folder, folder: b}}]",)
    )
    assert settings.data.clients[0].folder == written
    assert compose_settings("smoke", (f"data.root={written}",)).data.root == written


@pytest.mark.parametrize("written", ["010", "012", "12:30", "0x1F", "1_000", "7"])
def test_a_text_that_yaml_took_for_a_number_asks_for_quotes(written):
    composed = compose("smoke", ())
    composed["data"]["clients"][0]["folder"] = OmegaConf.create(f"x: {written}").x
    with pytest.raises(SettingsError, match=r"data\.clients\[0\]\.folder=\d+: .* put it in quotes"):
        settings_from(composed)


@pytest.mark.parametrize("value", ["/srv/ü", "~/x", "it's", "x#y", "/srv/(a)", "a=b", "[ü]"])
def test_a_value_that_hydra_cannot_read_is_named_with_its_key_and_its_quotes(value):
    with pytest.raises(SettingsError) as told:
        compose_settings("smoke", (f"data.root={value}",))
    assert str(told.value).startswith(f"data.root={value}: it has letters or signs")
    assert compose_settings("smoke", (f'data.root="{value}"',)).data.root == value


def test_a_decimal_comma_is_thought_of_where_a_number_has_a_point():
    with pytest.raises(SettingsError, match="seed=0,1: one run takes one value"):
        compose_settings("smoke", ("seed=0,1",))


def test_a_value_that_is_missing_is_named_with_what_to_add():
    with pytest.raises(SettingsError, match=r"data\.clients has no value .* take every folder of"):
        compose_settings("own", ())
    with pytest.raises(SettingsError, match=r"needs one: add data\.root=VALUE"):
        compose_settings("real_small", ())
