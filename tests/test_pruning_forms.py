"""Claims about pruning.regrow, extrude and schedule over a whole federation: rounds go on."""

import numpy as np
import pytest
from tiny_federation import PAIR, Finished, interfering, pruned_share

from fedklpr_flwr.algorithm.pruning_rate import density_after
from fedklpr_flwr.model.mask_file import MaskFile

pytestmark = pytest.mark.slow

ALWAYS = ("method.pruning=always", "pruning.first_round=2", "federation.rounds=4")
FORMS = {
    "regrow": (*ALWAYS, "pruning.regrow=0.2"),
    "extrude": (*ALWAYS, "pruning.extrude=1", "pruning.when=after_training"),
    "cubic": (*ALWAYS, "pruning.schedule=cubic"),
}


def stop_by_hand(message, context, app):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(federate_in, tmp_path_factory):
    """`finished("regrow")`: a federation of two that ran its four rounds; made once."""
    made = {}

    def run(form):
        if form not in made:
            folder = tmp_path_factory.mktemp(form) / "run"
            made[form] = federate_in(folder, *FORMS[form], names=PAIR)
        return made[form]

    return run


@pytest.mark.parametrize("form", FORMS)
def test_every_update_is_merged_to_the_end_by_the_schedules_density(form, finished):
    run = finished(form)
    rounds = range(1, 5)
    assert {run.row(n, client).status for n in rounds for client in PAIR} == {"merged"}
    schedule = 0.2, 0.5, 2, "cubic" if form == "cubic" else "geometric"
    for number in rounds:
        pruned = [run.row(number, client).pruned for client in PAIR]
        assert pruned == pytest.approx([1 - density_after(number, *schedule)] * 2, abs=0.01)
    assert pruned_share(run, "ash") == pytest.approx(run.row(4, "ash").pruned)


def test_what_comes_back_after_a_prune_is_merged_as_well(federate, tmp_path):
    """Stopped as round 4 begins: what came back in round 3 may be pruned again in it."""
    file, masks = tmp_path / "run" / "clients" / "ash" / "mask.safetensors", {}

    def look(message, context, app):
        number = int(message.metadata.group_id)
        if number > 2:
            masks[number] = {name: mask.clone() for name, mask in MaskFile(file).items()}
        return stop_by_hand(message, context, app) if number == 4 else app(message, context)

    with pytest.raises(KeyboardInterrupt):
        federate(*FORMS["regrow"], names=PAIR, app=interfering(look, client="ash"))
    back = {name: mask & ~masks[3][name] for name, mask in masks[4].items()}
    tensors = Finished(tmp_path / "run").state().tensors
    moved = sum(int(np.count_nonzero(tensors[name][mask.numpy()])) for name, mask in back.items())
    assert moved > 100


@pytest.mark.parametrize("form", FORMS)
def test_a_run_stopped_in_its_third_round_and_continued_equals_one_never_stopped(
    form, federate, finished
):
    app = interfering(stop_by_hand, client="birch", round=3)
    with pytest.raises(KeyboardInterrupt):
        federate(*FORMS[form], names=PAIR, app=app)
    continued = federate(*FORMS[form], names=PAIR)
    assert continued.model == finished(form).model
    assert continued.results == finished(form).results
