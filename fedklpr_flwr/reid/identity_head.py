"""A classifier of one client's own persons: supervised training, and it never leaves the client."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedklpr_flwr.reid.device_copy import copied_to

_DEVIATION = 0.001


class IdentityHead(nn.Module):
    """Logits of the persons a client knows, from unit features.

        L = CE( W dropout(sqrt(D) f) + b, person )

    sqrt(D) gives a unit feature back the length that a batch-normalised one has.

    Source: FedPav (Zhuang et al., "Performance optimization for federated person
        re-identification", 2020): only the backbone is sent, the identity classifier stays. Its
        classifier has one more hidden layer; the neck's batch norm stands in for that.
    """

    def __init__(
        self, feature_dim: int, persons: int, *, generator: torch.Generator, dropout: float = 0.5
    ) -> None:
        """Start from small random weights.

        Args:
            feature_dim: D.
            persons: how many persons the client has; 0 makes a head that is never asked.
            generator: of the weights.
            dropout: share of the feature's dimensions left out in training, in [0,1).
        """
        super().__init__()
        self.weight = nn.Parameter(torch.empty(persons, feature_dim))
        self.bias = nn.Parameter(torch.zeros(persons))
        self.dropout = dropout
        with torch.no_grad():
            self.weight.normal_(0, _DEVIATION, generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B,D) unit features to (B,persons) logits, nothing dropped."""
        return functional.linear(math.sqrt(self.weight.shape[1]) * features, self.weight, self.bias)

    def loss(self, features: Tensor, persons: Tensor, generator: torch.Generator) -> Tensor:
        """Compute the mean cross-entropy of a batch, with dropout.

        Args:
            features: (B,D) float32, rows of unit length, B at least 1.
            persons: (B,) int64, from 0.
            generator: of what is dropped; on the host, wherever the head is.

        Returns:
            A scalar; gradients flow to the features and to the head.
        """
        kept = torch.rand(features.shape, generator=generator) >= self.dropout
        logits = self(features * copied_to(kept, features.device) / (1 - self.dropout))
        return functional.cross_entropy(logits, persons)

    @torch.no_grad()
    def correct(self, features: Tensor, persons: Tensor) -> Tensor:
        """Count the pictures whose largest logit is their own person's: 0-d int64, 0 to B."""
        right: Tensor = self(features).argmax(dim=1) == persons
        return right.sum()
