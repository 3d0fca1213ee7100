"""How far two models stand apart on the same pictures: KL of feature distributions, and rivals.

The distribution of a feature z is P(z) = softmax(z / tau) over its D dimensions. To second order,
for unit features,

    KL(P(z) || P(z')) = (1 - cos(z, z')) / (D tau^2)

in either direction, so that with tau = 1/sqrt(D) the KL terms are of the cosine distance's size and
FedCAPR's factor of 0.13 carries over. With tau = 1 they would be about D times smaller, and dead.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from fedklpr_flwr.errors import SettingsError, WeightsError


def default_temperature(feature_dim: int) -> float:
    """Gives tau = 1/sqrt(D), with which KL is about 1 - cos for unit features.

    Args:
        feature_dim: D, the number of feature dimensions, >= 1.

    Returns:
        The temperature: 0.0221 at D = 2048, 1 at D = 1.

    Raises:
        SettingsError: D is below 1.
    """
    if feature_dim < 1:
        raise SettingsError(f"features must have at least one dimension, they have {feature_dim}")
    return 1.0 / math.sqrt(feature_dim)


def log_distribution(features: Tensor, temperature: float) -> Tensor:
    """Gives log P(z) of P(z) = softmax(z / tau): each feature as a distribution over dimensions.

    Args:
        features: (B, D) float, unit rows.
        temperature: tau > 0.

    Returns:
        (B, D) of the same dtype; P is near uniform for large tau, near one-hot at the largest
        dimension for small tau.

    Raises:
        SettingsError: tau is not a positive finite number.

    Source: KL over feature distributions is FedKLPR's; softmax and tau are this project's reading.
    """
    if not 0 < temperature < math.inf:
        raise SettingsError(f"the KL temperature must be a positive number, it is {temperature}")
    return functional.log_softmax(features / temperature, dim=1)


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Gives D_KL(P || Q) = sum_x P(x) log(P(x) / Q(x)) of each row.

    Args:
        log_p: (B, D) float, log-probabilities of P.
        log_q: (B, D) float, log-probabilities of Q.

    Returns:
        (B,) in nats, >= 0 up to rounding; 0 where P = Q.
    """
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def kl_regularization_loss(local: Tensor, received: Tensor, temperature: float) -> Tensor:
    """Gives the term that holds local training near the received model (paper: KLL).

        L_KL = mean_i KL( P(z_received,i) || P(z_local,i) )

    Args:
        local: (B, D) float, unit features of the model in training; the gradient flows here.
        received: (B, D) float, unit features of the received masked model on the same pictures;
            no gradient flows here.
        temperature: tau > 0; `default_temperature(D)` makes the term about 1 - cos.

    Returns:
        0-d loss >= 0, to be added with the factor lambda; lambda = 0 is plain FedCAPR without
        its cosine term. 0, with zero gradient, where both are equal.

    Raises:
        SettingsError: tau is not a positive finite number.

    Source: FedKLPR's KLL. What is compared is the abstract's; softmax, tau and the direction
        (received first, as a teacher) are this project's reading.
    """
    log_received = log_distribution(received.detach(), temperature)
    return kl_divergence(log_received, log_distribution(local, temperature)).mean()


def knowledge_gain(after: Tensor, before: Tensor, temperature: float) -> float:
    """Gives how much local training moved the model (the quantity KLAW weighs by).

        KLAW_k = mean_{x in D_batch} KL( P_after(x) || P_before(x) )

    The sum is KL(after || before) where the loss has KL(received || local); they agree to second
    order.

    Args:
        after: (B, D) float, unit features of a fixed batch after local training.
        before: (B, D) float, of the same pictures by the received masked model.
        temperature: tau > 0; the normalised weights hardly depend on it.

    Returns:
        Mean divergence in nats, >= 0, computed in float64; 0 where nothing changed.

    Raises:
        SettingsError: tau is not a positive finite number, or the batch is empty.
    """
    _check_batch(after, before)
    with torch.no_grad():
        log_after = log_distribution(after.double(), temperature)
        log_before = log_distribution(before.double(), temperature)
        # Rounding can leave -1e-17 where the two are equal; a weight must not be negative.
        return max(0.0, float(kl_divergence(log_after, log_before).mean()))


def cosine_regularization_loss(local: Tensor, received: Tensor) -> Tensor:
    """Gives FedCAPR's regulariser, mean_i (1 - cos(z_local,i, z_received,i)).

    Args:
        local: (B, D) float, features of the model in training; the gradient flows here.
        received: (B, D) float, features of the received model; no gradient flows here.

    Returns:
        0-d loss in [0, 2]; 0 where the directions agree.

    Source: FedCAPR's code, over the whole batch (its indentation made it the last camera only).
    """
    return (1.0 - functional.cosine_similarity(local, received.detach(), dim=1)).mean()


def cosine_distance(after: Tensor, before: Tensor) -> float:
    """Gives mean_i (1 - cos(after_i, before_i)), the quantity of cosine distance weights (CDW).

    Args:
        after: (B, D) float, features of a fixed batch after local training.
        before: (B, D) float, of the same pictures by the received model.

    Returns:
        Mean distance in [0, 2], computed in float64; 0 where nothing changed.

    Raises:
        SettingsError: the batch is empty.

    Source: FedReID's and FedCAPR's CDW.
    """
    _check_batch(after, before)
    with torch.no_grad():
        cosine = functional.cosine_similarity(after.double(), before.double(), dim=1)
        return max(0.0, float((1.0 - cosine).mean()))


def proximal_loss(parameters: Mapping[str, Tensor], received: Mapping[str, Tensor]) -> Tensor:
    """Gives FedProx's term 1/2 |theta - theta^t|^2, to be added with the factor mu.

    Args:
        parameters: name -> parameter in training, at least one; the gradient theta - theta^t
            flows here.
        received: name -> the received value of each, no gradient; further names are ignored.

    Returns:
        0-d loss >= 0; 0 before the first step. mu = 0 is plain FedAvg.

    Raises:
        WeightsError: a parameter has no received value, or there are no parameters.
    """
    absent = [name for name in parameters if name not in received]
    if absent or not parameters:
        raise WeightsError(
            f"every parameter needs its received value, {absent or 'none of them'} has none: "
            "take both from the same network"
        )
    squares = [
        (value - received[name].detach()).square().sum() for name, value in parameters.items()
    ]
    return 0.5 * torch.stack(squares).sum()


def _check_batch(after: Tensor, before: Tensor) -> None:
    if after.shape != before.shape or len(after) == 0:
        raise SettingsError(
            "the features before and after training must be of the same pictures, at least one, "
            f"they have shapes {tuple(before.shape)} and {tuple(after.shape)}"
        )
