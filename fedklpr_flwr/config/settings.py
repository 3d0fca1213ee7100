"""Every choice a run is made of, as frozen dataclasses: what conf/ says, checked and typed.

A method of the comparison (FedKLPR, FedAvg, ...) is nothing but values of these fields, held by
conf/method/*.yaml. compose.py refuses what a field's `metadata` does not allow with key, value and
range. The rooms data, reid, algorithm and wire never see these objects: they get plain values.
"""

from dataclasses import dataclass

from fedklpr_flwr.config.fields import between, one_of
from fedklpr_flwr.config.labels import Labels
from fedklpr_flwr.config.wire import Wire


@dataclass(frozen=True, kw_only=True)
class Method:
    """The named choices that make FedKLPR, FedAvg, ...; each names one tested function."""

    name: str
    local_loss: str = one_of(
        "camera_proxies",
        "clusters",
        "clusters_cameras",
        "clusters_patches",
        "clusters_cameras_patches",
        "repelled",
        "identity_classifier",
    )
    drift_penalty: str = one_of("kl", "cosine", "proximal", "none")
    aggregation_weights: str = one_of(
        "klpwa", "klaw", "praw", "data_size", "cosine_distance", "uniform"
    )
    merge: str = one_of("masked_mean", "plain_mean", "trimmed_mean")
    pruning: str = one_of("recovery", "always", "lottery", "sub_fedavg", "none")
    personal_parts: str = one_of("none", "batchnorm", "neck", "classifier", "all")


@dataclass(frozen=True, kw_only=True)
class Ide:
    """FedCAPR's repetition of pictures, so that small sets form clusters."""

    target: int = between(0)
    persons: int | None = between(1)
    jaccard: str = one_of("distinct", "copies")


@dataclass(frozen=True, kw_only=True)
class Proxies:
    """The camera-aware contrastive loss."""

    temperature: float = between(1e-3)
    momentum: float = between(0.0, 1.0)
    intra_weight: float = between(0.0)
    inter_weight: float = between(0.0)
    hard_negatives: int = between(1)
    negatives: str = one_of("any", "own_camera", "auto", default="any")
    online_weight: float = between(0.0, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The KL term towards the received masked model, and its rivals' penalties."""

    weight: float = between(0.0)
    temperature: float | None = between(1e-4)
    from_round: int = between(1)
    reference: str = one_of("received", "cached")
    teacher_batchnorm: str = one_of("eval", "train")


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How much is pruned, when, and which layers are left dense."""

    rate: float = between(0.0, 0.95)
    target: float = between(0.0, 0.99)
    first_round: int = between(1)
    after: float | None = between(0.0, 1.0, default=None)
    scope: str = one_of("layer", "network")
    when: str = one_of("before_training", "after_training", "before_last_epoch")
    depthwise: bool
    stem: bool
    batchnorm: str = one_of("keep", "reestimate")
    above: float = between(0.0, 1.0)
    guard: bool
    rewind: bool
    mask_distance: float = between(0.0, 1.0)
    schedule: str = one_of("geometric", "cubic", default="geometric")
    masks: str = one_of("client", "consensus", default="client")
    regrow: float = between(0.0, 0.5, default=0.0)
    extrude: float = between(0.0, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Crr:
    """Cross-round recovery: when a client may prune on, and when it must heal first."""

    accuracy: str = one_of("training", "heldout", "cross_camera", "rank1_test")
    reference: str = one_of("before_last_prune", "previous_round", "best")
    level: float = between(0.0, 1.0)
    drop: float = between(0.0, 1.0)
    rollback: bool
    test: str = one_of("threshold", "paired", "sequential", default="threshold")
    pooled: bool = False
    patience: int | None = between(0, default=2)


@dataclass(frozen=True, kw_only=True)
class Personal:
    """How the merged model becomes a client's own."""

    batchnorm: str = one_of("received", "reestimate")
    own_share: float = between(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Training:
    """Local training: optimiser, batches, augmentation, and where it is computed."""

    epochs: int = between(1)
    persons: int = between(1)
    pictures: int = between(1)
    max_batches: int | None = between(1)
    learning_rate: float = between(0.0)
    weight_decay: float = between(0.0)
    lr_drop_round: int | None = between(1)
    lr_drop_factor: float = between(0.0, 1.0)
    final_epochs: int | None = between(1)
    final_factor: float = between(0.0)
    final_warmup: int = between(0)
    final_drops: tuple[int, ...]
    flip: float = between(0.0, 1.0)
    padding: int = between(0)
    erasing: float = between(0.0, 1.0)
    jitter: float = between(0.0, 1.0)
    threads: int = between(1)
    device: str = one_of("auto", "cpu", "cuda")
    precision: str = one_of("float32", "tf32", "bfloat16", "auto")
    compile: bool
    erased: str = one_of("torchvision", "fedcapr", default="torchvision")


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network and the pictures it looks at."""

    backbone: str = one_of("small", "resnet18", "resnet34", "resnet50", "mobilenet_v2")
    weights: str | None
    height: int = between(16, 1024)
    width: int = between(16, 1024)
    stem_relu: bool


@dataclass(frozen=True, kw_only=True)
class Client:
    """One site: its name, the reader of its pictures, and their folder below data.root.

    Attributes:
        camera: it trains on this camera's pictures alone, 0-based; None = on all.
        hand: which of the `data.many.clients` hands of its set it has, 0-based; None = all of it.
        persons: it trains on so many of the persons there, drawn by the seed, and is tested on all;
            None = on all.
    """

    name: str
    reader: str
    folder: str | None
    camera: int | None = between(0, default=None)
    hand: int | None = between(0, default=None)
    persons: int | None = between(1, default=None)


@dataclass(frozen=True, kw_only=True)
class Many:
    """How each set's persons are dealt to clients.

    Attributes:
        clients: how many clients a set is dealt to.
        alpha: Dirichlet concentration of their shares.
    """

    clients: int = between(1, default=64)
    alpha: float = between(1e-3, 1e6, default=1.0)


_DEFAULT_MANY = Many()
"""Of run folders that were written before there were scenarios."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which sites take part in a simulation, and where their pictures lie."""

    root: str | None
    cache: str | None
    clients: tuple[Client, ...]
    skip_unreadable: bool
    join: bool
    joined: tuple[Client, ...]
    scenario: str = one_of("by_dataset", "by_camera", "many", default="by_dataset")
    many: Many = _DEFAULT_MANY
    newest_days: float | None = between(0.0, default=None)
    most_per_camera_day: int | None = between(1, default=None)
    settle_seconds: float = between(0.0, default=0.0)

    @property
    def sites(self) -> tuple[Client, ...]:
        """The sites whose pictures are used: the clients, or those that one client joins."""
        return self.joined or self.clients


@dataclass(frozen=True, kw_only=True)
class Federation:
    """Rounds, who takes part, and how long the server waits."""

    rounds: int = between(1)
    fraction: float = between(0.0, 1.0)
    min_clients: int = between(1)
    start_clients: int | None = between(1)
    wait_seconds: float = between(0.0)
    round_seconds: float = between(1.0)
    evaluate_seconds: float = between(1.0, default=1800.0)
    evaluate: str = one_of("all", "next", default="all")
    at_once: int | None = between(1, default=None)
    server_rate: float = between(0.0, default=1.0)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run says of itself."""

    pictures: bool
    wandb: str = one_of("off", "offline", "online")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where a run writes, where its clients' memories lie, and which finished run it continues."""

    dir: str | None
    memory: str | None
    continues: str | None = None


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """What is done to an update before it leaves its site."""

    kind: str = one_of("none", "local_dp", "secure_aggregation", default="none")
    clip: float = between(1e-6, default=0.01)
    noise: float = between(1e-3, default=1.0)
    delta: float = between(1e-15, 0.1, default=1e-5)
    randomness: str = one_of("system", "seed", default="system")
    scores: bool = False


@dataclass(frozen=True, kw_only=True)
class Klaw:
    """How a client's divergence (what it learnt) becomes a weight."""

    direction: str = one_of("gain", "alignment", "bounded", "agreement")
    batch: str = one_of("seeded32", "first32")
    per_step: bool = False
    data_power: float = between(0.0, 1.0, default=0.0)
    bound: float | None = between(1.0, default=None)


@dataclass(frozen=True, kw_only=True)
class Praw:
    """How a client's pruning ratio becomes a weight."""

    formula: str = one_of("inverse_density", "pruned", "density")


@dataclass(frozen=True, kw_only=True)
class Klpwa:
    """How the two weights become one."""

    combine: str = one_of("product", "mean")
    cap: float | None = between(0.01, 1.0)


@dataclass(frozen=True, kw_only=True)
class Defence:
    """What one hostile or broken client cannot do to the others."""

    norm_bound: float | None = between(1.0)
    alignment: float | None = between(0.0, 1.0, default=None)
    trim: float = between(0.0, 0.49)
    quarantine: int | None = between(1)


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Named choices that change on the way (FedUCC's stages)."""

    personal_after: float | None = between(0.0, 1.0)
    personal_parts: str = one_of("batchnorm", "neck")
    loss_after: float | None = between(0.0, 1.0)
    local_loss: str = one_of(
        *("camera_proxies", "clusters", "clusters_cameras"),
        *("clusters_patches", "clusters_cameras_patches"),
    )


@dataclass(frozen=True, kw_only=True)
class ClusterMemory:
    """The cluster-contrastive loss (FedUCC), of whole pictures and of stripes."""

    temperature: float = between(1e-3)
    momentum: float = between(0.0, 1.0)
    update: str = one_of("every", "hardest", default="every")
    across_cameras: bool = False


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Patch knowledge (FedUCC's third stage)."""

    stripes: int = between(1)
    weight: float = between(0.0)


@dataclass(frozen=True, kw_only=True)
class BottomUp:
    """Bottom-up clustering (BUC, FedUReID): one merge step a round."""

    share: float = between(0.0, 0.5)
    personalised: bool
    size_weight: float = between(0.0)


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """The classifier of a client's own persons (FedPav)."""

    dropout: float = between(0.0, 0.95)


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """When local training ends before its epochs are over (FedUReID's personalised epoch)."""

    precision: float | None = between(0.0, 1.0)
    from_round: int = between(1)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All of one run: composed from conf/, checked, the same on the server and every client."""

    experiment: str
    seed: int = between(0)
    run: Run
    resume: str | None
    deployment: bool
    method: Method
    stages: Stages
    labels: Labels
    ide: Ide
    proxies: Proxies
    cluster_memory: ClusterMemory
    patches: Patches
    bottom_up: BottomUp
    classifier: Classifier
    kl: Drift
    klaw: Klaw
    praw: Praw
    klpwa: Klpwa
    defence: Defence
    pruning: Pruning
    crr: Crr
    personal: Personal
    early_stop: EarlyStop
    training: Training
    model: Model
    data: Data
    wire: Wire
    federation: Federation
    report: Report
    privacy: Privacy = Privacy()
