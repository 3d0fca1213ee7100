"""Claims about a training step on a device, asked without one: shapes and no numbers.

Tensors of a pretended CUDA device know their shape alone. Whatever mixes host and device, or reads
a number back in a step and so would wait for the device, raises here on any machine.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from fedklpr_flwr.algorithm.masked_step import MaskedSteps
from fedklpr_flwr.client.drift_penalty import DRIFT_PENALTIES, Step, receive
from fedklpr_flwr.client.local_loss import OBJECTIVES, Batch, EpochStart
from fedklpr_flwr.data.transforms import evaluation_transform
from fedklpr_flwr.model.scoring import features_of
from fedklpr_flwr.model.shared_model import client_network, full_masks
from fedklpr_flwr.reid.stripes import features_and_map
from fedklpr_flwr.system.randomness import named_generator

DEVICE = torch.device("cuda", 0)
INDICES = torch.tensor([0, 5, 9, 13, 17, 1])


class Pretended(TorchDispatchMode):
    """Host tensors compute as ever; what is copied or made there is a pretended one."""

    def __init__(self) -> None:
        super().__init__()
        self._fake = FakeTensorMode()

    def there(self, tensor: torch.Tensor) -> torch.Tensor:
        fake = self._fake.from_tensor(tensor.detach())
        with self._fake:
            return fake.to(DEVICE)

    def move(self, owner: object) -> None:
        """Every tensor among an object's attributes."""
        for name, value in vars(owner).items():
            if isinstance(value, torch.Tensor):
                setattr(owner, name, self.there(value))

    def move_network(self, network: torch.nn.Module) -> None:
        for module in network.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    moved = self.there(value)
                    module._parameters[name] = torch.nn.Parameter(moved, value.requires_grad)
            for name, value in module._buffers.items():
                module._buffers[name] = None if value is None else self.there(value)

    def __enter__(self):
        self._fake.__enter__()
        return super().__enter__()

    def __exit__(self, *how):
        super().__exit__(*how)
        self._fake.__exit__(*how)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._pin_memory.default:
            return args[0]  # pinning is the real driver's
        tensors = [v for v in pytree.tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
        made_there = torch.device(kwargs.get("device") or "cpu").type == "cuda"
        if not made_there and not any(isinstance(v, FakeTensor) for v in tensors):
            with _disable_current_modes():
                return func(*args, **kwargs)
        args, kwargs = pytree.tree_map_only(torch.Tensor, self._pretend, (args, kwargs))
        return func(*args, **kwargs)

    def _pretend(self, tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor
        with _disable_current_modes():
            return self._fake.from_tensor(tensor)


@pytest.fixture
def start(tiny_settings, tiny_site):
    """`start("clusters")`: a network, an objective over it, and a batch's pictures, on the host."""

    def make(loss):
        parts = "classifier" if loss == "identity_classifier" else "none"
        settings = tiny_settings(f"method.local_loss={loss}", f"method.personal_parts={parts}")
        network = client_network(settings, tiny_site, pretrained=False).eval()
        features, labels = features_of(network, tiny_site.train), tiny_site.train.persons
        generator = named_generator(0, "test")
        epoch = EpochStart(network, tiny_site.train, features, labels, settings, generator)
        images = evaluation_transform(tiny_site.train.pixels[INDICES])
        return network, OBJECTIVES[loss](epoch), images

    return make


def memories_of(objective):
    """All memories of an objective, those of its parts and of its stripes too."""
    found = []
    for part in getattr(objective, "_parts", (objective,)):
        memory = getattr(part, "memory", None) or getattr(part, "_memory", None)
        found += [memory, *getattr(memory, "memories", ())] if memory else ()
    return found


@pytest.mark.parametrize("loss", OBJECTIVES)
def test_an_objective_reads_nothing_back_and_mixes_no_devices(loss, start):
    network, objective, images = start(loss)
    pretended, memories = Pretended(), memories_of(objective)
    for memory in memories:
        pretended.move(memory)
    pretended.move_network(network)
    with pretended, torch.no_grad():
        batch = Batch(INDICES, *features_and_map(network, images))
        assert batch.features.device == DEVICE
        assert objective.loss(batch).device == DEVICE
        assert objective.correct(batch).device == DEVICE
        objective.update(batch)
    assert all(m.centroids.device == DEVICE for m in memories if hasattr(m, "centroids"))


@pytest.mark.parametrize("penalty", DRIFT_PENALTIES)
@pytest.mark.parametrize("cached", [False, True])
def test_a_penalty_reads_nothing_back_and_mixes_no_devices(penalty, cached, start, tiny_site):
    network, _, images = start("clusters")
    received = receive(
        network, "eval", features_of(network, tiny_site.train) if cached else None, penalty
    )
    pretended = Pretended()
    pretended.move_network(network)
    pretended.move_network(received.network)
    reference = pretended.there(received.cached) if cached else None
    frozen = {name: pretended.there(value) for name, value in received.parameters.items()}
    received = type(received)(received.network, frozen, reference)
    with pretended, torch.no_grad():
        there = network.taken(images)
        features = network(there)
        step = Step(there, INDICES, features, dict(network.named_parameters()), received, 0.1)
        assert DRIFT_PENALTIES[penalty](step).device == DEVICE


def test_masks_of_the_host_are_laid_beside_the_weights_once(start, tiny_settings):
    network, _, _ = start("clusters")
    masks = full_masks(network, tiny_settings())
    pretended = Pretended()
    pretended.move_network(network)
    with pretended:
        masked = MaskedSteps(dict(network.named_parameters()), masks)
    with pretended, torch.no_grad():
        masked.mask_weights()
        masked.mask_gradients()
    assert all(pruned.device == DEVICE for _, pruned in masked._pruned)


def test_a_pretended_device_notices_what_would_wait_or_mix(start):
    network, objective, images = start("camera_proxies")
    pretended = Pretended()
    pretended.move_network(network)
    with pretended, torch.no_grad():
        features = network(images)
        with pytest.raises(Exception, match="_local_scalar_dense"):
            int(features.sum())
        with pytest.raises(Exception, match="nonzero"):
            features[features > 0]
        with pytest.raises(Exception, match="same device"):
            objective.loss(Batch(INDICES, features))  # the memory is still on the host
