"""FedKLPR: federated person re-identification that prunes, measures and merges, on Flower."""

__version__ = "0.1.0"
