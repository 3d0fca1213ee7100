"""Claims about fedklpr_flwr.config.cross_checks: what cannot go together is refused."""

import pytest

from fedklpr_flwr.client.site_policy import SitePolicy, site_settings
from fedklpr_flwr.errors import SettingsError

REFUSED = {
    ("crr.accuracy=heldout", "labels.source=clusters"): ["labels.source=identities"],
    ("crr.accuracy=rank1_test", "deployment=true"): ["rank1_test", "deployment=true", "training"],
    ("pruning.rewind=true",): ["method.pruning=recovery", "lottery"],
    ("pruning.guard=true",): ["pruning.when=before_training", "after_training"],
    ("method=lotteryfl", "pruning.guard=true", "pruning.when=after_training"): ["recovery"],
    ("method=subfedavg", "pruning.rewind=true"): ["method.pruning=sub_fedavg", "lottery"],
    ("method=lotteryfl", "deployment=true", "model.weights=/weights.pth"): [
        "pruning.rewind=true",
        "model.weights=/weights.pth",
        "model.weights=null",
    ],
    ("method=fedpav", "labels.source=clusters"): ["labels.source=clusters", "identities"],
    ("method=fedpav", "method.personal_parts=none"): ["personal_parts=none", "classifier or all"],
    ("method.personal_parts=classifier",): ["camera_proxies", "none, batchnorm, neck or all"],
    ("method=local_only", "method.pruning=always"): ["personal_parts=all", "pruning=none"],
    ("method=feducc", "method.personal_parts=neck"): ["stages.personal_after=0.3", "neck"],
    ("method=fedpav", "stages.loss_after=0.5"): ["stages.loss_after", "identity_classifier"],
    ("method=centralised", "deployment=true"): ["data.join=true", "simulation", "centralised"],
    ("method=centralised", "data.clients=[]"): ["data.clients=[]", "at least one"],
    ("federation.min_clients=4",): ["federation.min_clients=4", "at most 3"],
    ("labels.k1=5", "labels.k2=6"): ["labels.k2=6", "at most labels.k1=5"],
    ("labels.stripes=0.7", "labels.colour=0.5"): ["labels.stripes=0.7", "labels.colour=0.5"],
    ("training.final_drops=[-1]",): ["final_drops has -1", "from 1 on"],
    ("klaw.per_step=true", "klaw.direction=agreement"): ["klaw.per_step=true", "agreement"],
    ("klaw.bound=0.5",): ["klaw.bound=0.5"],
    ("method=lotteryfl", "pruning.schedule=cubic"): ["schedule=cubic", "pruning=lottery"],
    ("method=subfedavg", "pruning.regrow=0.05"): ["regrow=0.05", "pruning=sub_fedavg"],
    ("method=lotteryfl", "pruning.masks=consensus"): ["masks=consensus", "pruning=lottery"],
    ("pruning.extrude=0.1",): ["pruning.extrude=0.1", "pruning.when=before_training"],
    ("pruning.extrude=0.1", "pruning.when=before_last_epoch", "training.epochs=1"): [
        "pruning.extrude=0.1",
        "training.epochs=1",
    ],
    ("pruning.regrow=0.05", "pruning.when=after_training"): ["regrow=0.05", "after_training"],
    ("pruning.regrow=0.05", "crr.rollback=true"): ["regrow=0.05", "crr.rollback=true"],
    ("pruning.regrow=0.05", "wire.values=change"): [
        "wire.values=change with pruning.regrow=0.05",
        "float32 or bfloat16",
    ],
    ("pruning.masks=consensus",): ["masks=consensus", "method.pruning=recovery", "always"],
    ("pruning.masks=consensus", "method.pruning=always", "wire.values=int8"): ["wire.values=int8"],
    ("pruning.masks=consensus", "method.pruning=always", "pruning.regrow=0.05"): ["regrow=0.05"],
    ("crr.pooled=true", "crr.test=threshold"): ["crr.pooled=true", "crr.test=threshold"],
    ("crr.pooled=true", "crr.test=paired", "pruning.when=after_training"): [
        "crr.pooled=true",
        "pruning.when=after_training",
    ],
    ("crr.pooled=true", "crr.test=paired", "privacy=local_dp"): [
        "crr.pooled=true",
        "privacy=local_dp",
    ],
    ("method=fedcapr", "crr.test=paired", "crr.pooled=true"): ["crr.pooled=true", "pruning=none"],
    ("method.pruning=always", "crr.pooled=true"): ["crr.pooled=true", "method.pruning=always"],
    ("crr.test=sequential", "crr.drop=0"): ["crr.drop=0", "crr.test=sequential", "crr.test=paired"],
    ("crr.test=paired", "crr.reference=best"): ["crr.reference=best with crr.test=paired"],
    ("crr.test=sequential", "crr.reference=previous_round"): [
        "crr.reference=previous_round with crr.test=sequential",
        "crr.test=threshold",
    ],
    ("klpwa.cap=0",): ["klpwa.cap=0", "0.01 to 1"],
    ("defence.norm_bound=null", "deployment=true"): ["norm_bound=null", "conf/defence/deployed"],
    ("defence=study", "deployment=true"): ["klpwa.cap=null with deployment=true"],
    ("privacy=secure_aggregation", "method.pruning=always"): ["masks=client", "masks=consensus"],
    ("privacy=secure_aggregation", "method=fedavg", "wire.values=int8"): ["wire.values=int8"],
    ("privacy=secure_aggregation", "method=fedavg", "wire.values=change"): ["values=change"],
    ("privacy=secure_aggregation", "method=fedavg", "method.merge=trimmed_mean"): [
        "secure_aggregation with method.merge=trimmed_mean",
        "masked_mean",
    ],
    ("privacy=secure_aggregation", "method=fedavg", "defence.norm_bound=3"): ["norm_bound=3.0"],
    ("privacy=secure_aggregation", "method=fedavg", "defence.alignment=0.3"): ["alignment=0.3"],
    ("privacy=secure_aggregation", "method=fedavg", "klaw.direction=agreement"): ["agreement"],
    ("privacy=secure_aggregation", "method=fedavg", "klpwa.cap=null"): ["set klpwa.cap=0.5"],
    ("privacy=secure_aggregation", "method=fedavg", "klpwa.cap=0.6"): ["set klpwa.cap=0.5"],
    ("privacy=secure_aggregation", "method=fedavg", "federation.min_clients=1"): [
        "min_clients=1",
        "the sum of one",
    ],
    # A choice that does not exist, with all that do.
    ("method.local_loss=triplet",): ["camera_proxies", "clusters_patches", "repelled"],
    ("method.pruning=random",): ["recovery", "always", "lottery", "sub_fedavg", "none"],
    ("method.personal_parts=head",): ["batchnorm", "neck", "classifier", "all"],
    ("labels.source=names",): ["clusters", "identities", "bottom_up"],
    ("stages.local_loss=identity_classifier",): ["clusters_patches"],
    ("method=fedsgd",): ["fedavg", "feduccplus", "subfedavg"],
}


@pytest.mark.parametrize("overrides", REFUSED, ids=" ".join)
def test_it_is_refused_in_one_sentence_that_says_what_exists(overrides, tiny_settings):
    with pytest.raises(SettingsError) as error:
        tiny_settings(*overrides)
    for part in REFUSED[overrides]:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ("crr.accuracy=rank1_test",),
        ("crr.accuracy=heldout",),
        ("crr.test=paired", "crr.drop=0"),
        ("crr.test=threshold", "crr.reference=best", "crr.drop=0"),
        ("pruning.guard=true", "pruning.when=before_last_epoch"),
        ("method=lotteryfl", "deployment=true"),
        ("method=lotteryfl", "model.weights=/weights.pth"),
        ("method=fedpav", "method.personal_parts=all"),
        ("method=feducc", "stages.personal_after=null", "method.personal_parts=neck"),
    ],
    ids=" ".join,
)
def test_what_only_looks_like_a_contradiction_is_not_refused(overrides, tiny_settings):
    assert tiny_settings(*overrides)


def test_a_deployment_may_sum_in_secret_and_a_site_obeys_the_same_settings(
    tiny_settings,
):
    words = ("privacy=secure_aggregation", "method=fedavg", "deployment=true")
    settings = tiny_settings(*words)
    assert (settings.defence.norm_bound, settings.defence.alignment) == (None, None)
    assert (settings.defence.quarantine, settings.klpwa.cap) == (5, 0.5)
    again = site_settings(settings, SitePolicy())
    assert again.defence == settings.defence
