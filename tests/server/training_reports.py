"""A client's report in whole numbers, for tests of what the server makes of reports."""

from fedklpr_flwr.protocol.training_report import TrainingReport

REPORT = TrainingReport(
    examples=10,
    divergence=1.0,
    cosine_distance=0.5,
    pruned=0.0,
    accuracy=0.5,
    clusters=3,
    outliers=0,
    idle=False,
    crr="off",
    loss=1.0,
    kl_loss=0.0,
)
