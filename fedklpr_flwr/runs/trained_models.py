"""The models of a run folder: the merged one, and each client's own as it was last scored.

merged           global.safetensors, zero where no client's mask keeps anything: what evaluate
                 --global, search, export and its card mean by "the merged model"
a client's own   what went down to it after the last merge, through its mask, with its personal
                 parts and batch norm as the settings say: what `rank1` in run.jsonl is of
a client's final the same after its last long training: what `rank1_final` is of
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fedklpr_flwr.client.state_store import ClientMemory, MemoryFolder, fresh_memory
from fedklpr_flwr.config.settings import Settings
from fedklpr_flwr.errors import MemoryStateError, RunError, SettingsError, WeightsError
from fedklpr_flwr.model.consensus import consensus_masks, is_consensus
from fedklpr_flwr.model.device import evaluation_device, placed
from fedklpr_flwr.model.mask_file import ArrayView, MaskFile
from fedklpr_flwr.model.personal_model import load_personal_model, make_personal
from fedklpr_flwr.model.shared_model import client_parts, full_masks, initial_network, shared_layout
from fedklpr_flwr.model.site import Pictures, Site, open_site
from fedklpr_flwr.protocol.update_codec import decode_model, encode_model
from fedklpr_flwr.reid.network import ReidNetwork, float_state
from fedklpr_flwr.runs.checkpoint import ServerState, committed, read_state
from fedklpr_flwr.runs.trusted_runs import read_run_settings, refuse_links
from fedklpr_flwr.system import run_files
from fedklpr_flwr.system.paths import memory_below, user_cache
from fedklpr_flwr.wording import counted


@dataclass(frozen=True)
class TrainedRun:
    """A run folder that is only read.

    Attributes:
        path: the folder.
        settings: what was run.
        state: the federation after its last merged round.
    """

    path: Path
    settings: Settings
    state: ServerState

    def merged(self) -> ReidNetwork:
        """The merged model itself, zero where no client's mask keeps anything (`held_masks`).

        Raises:
            RunError: parts of it stay at the clients, so that there is no whole merged model.
        """
        network = initial_network(self.settings, pretrained=False)
        missing = [name for name in float_state(network) if name not in self.state.tensors]
        if missing:
            raise RunError(
                f"{self.path}: {missing[0]} and {len(missing) - 1} more tensors stay at the "
                f"clients (method.personal_parts={self.settings.method.personal_parts}), so there "
                "is no merged model to search with: name a client, whose own model is whole"
            )
        load_personal_model(network, _tensors(self.state.tensors), self.held_masks(), {})
        return self._placed(network)

    def personal(self, client: str, pictures: Site) -> ReidNetwork:
        """A client's own model, as it was scored after the last merge.

        Args:
            client: its name; one that was never merged has the merged model.
            pictures: of its site, for batch norm that is re-estimated.

        Raises:
            MemoryStateError: it needs what the client keeps, and that is not on this machine.
        """
        settings, state = self.settings, self.state
        keeps_parts = settings.method.personal_parts != "none"
        network = initial_network(settings, pretrained=keeps_parts)
        memory = self._memory(client, network)
        layout, masks = shared_layout(settings, memory.round), ArrayView(memory.masks)
        # Over the wire and back, since a lossy form's last bits depend on the client's mask.
        payload = encode_model(state.sent, masks, masks, layout, settings)
        arrays, _ = decode_model(payload, masks, settings, memory.round)
        share = settings.personal.own_share
        load_personal_model(
            network, _tensors(arrays), memory.masks, memory.personal, memory.own, share
        )
        self._placed(network)
        make_personal(network, pictures, settings.personal, state.round)
        return network.eval()

    def own(self, client: str) -> ReidNetwork:
        """`personal`, of the client's own pictures where its batch norm is taken from them.

        Raises:
            SettingsError: the run has no such client.
            DataError: its pictures are needed and cannot be read here.
            MemoryStateError: it needs what the client keeps, and that is not on this machine.
        """
        known = {one.name: one for one in self.settings.data.clients}
        if client not in known and client not in self.state.clients:
            raise SettingsError(f"--client {client}: {self.path} has {', '.join(known)}")
        if self.settings.personal.batchnorm != "reestimate" or not self.state.round:
            none = _no_pictures()
            return self.personal(client, Site(client, none, none, none))
        if client not in known:
            raise SettingsError(
                f"--client {client} joined from elsewhere, and its model's batch norm is of its "
                "pictures (personal.batchnorm=reestimate): open its model there"
            )
        return self.personal(client, open_site(known[client], self.settings, user_cache()))

    def masks(self, client: str) -> dict[str, torch.Tensor]:
        """The mask of a client's own model, by name; True = kept."""
        return dict(self._memory(client, initial_network(self.settings, pretrained=False)).masks)

    def held_masks(self) -> dict[str, torch.Tensor]:
        """What at least one client keeps, by name; all of it before anybody's update was merged.

        The rest of global.safetensors is nobody's: values from before its last holder pruned them,
        which training needs no more and no client's model has.
        """
        if is_consensus(self.settings):
            return consensus_masks(self.state.sent, self.settings, self.state.round)
        held: dict[str, torch.Tensor] = {}
        for name, known in self.state.clients.items():
            if known.has_mask:
                for tensor, mask in MaskFile(self._mask_file(name)).items():
                    held[tensor] = held[tensor] | mask if tensor in held else mask
        network = initial_network(self.settings, pretrained=False)
        return held or full_masks(network, self.settings)

    def final(self, client: str) -> ReidNetwork:
        """A client's model after its last long training (`training.final_epochs`).

        Raises:
            RunError: the run had none, or has not come to it.
            MemoryStateError: the model is not on this machine.
        """
        settings, last = self.settings, self.state.round
        if not settings.training.final_epochs:
            raise RunError(
                f"{self.path} has no final models: it ran with training.final_epochs=null"
            )
        if last < settings.federation.rounds:
            raise RunError(
                f"{self.path} has merged {last} of {counted(settings.federation.rounds, 'round')} "
                f"and its final models come after the last: go on with resume={self.path}"
            )
        folder = self._memory_folder(client)
        tensors = folder.read_final(last) if folder else None
        if tensors is None:
            raise MemoryStateError(
                f"the final model of client {client} after round {last} is not {self._memories()}: "
                "a final model never leaves its client, so search with it there"
            )
        network = initial_network(settings, pretrained=False)
        load_personal_model(network, {}, {}, tensors)
        return self._placed(network)

    def _placed(self, network: ReidNetwork) -> ReidNetwork:
        training = self.settings.training
        return placed(network, training, evaluation_device(training)).eval()

    def _memory(self, client: str, network: ReidNetwork) -> ClientMemory:
        """What the client left its last merged round with, as far as its model needs it."""
        known = self.state.clients.get(client)
        if known is None or not known.has_mask:
            return fresh_memory(full_masks(network, self.settings))
        base, folder = known.base_round, self._memory_folder(client)
        memory = folder.read(base) if folder else None
        if memory is None:
            self._check_spared(client, base, network)
            memory = ClientMemory(round=base, masks=dict(MaskFile(self._mask_file(client))))
        # A shared mask moves on without its client; outside it the merged model is zero.
        followed = is_consensus(self.settings) or memory.mask_hash == known.mask_hash
        if not followed:
            raise MemoryStateError(
                f"client {client}'s mask of round {base} is not the one that {self.path} merged it "
                "by: its memory belongs to another run, or the run is going on; try again then"
            )
        return memory

    def _mask_file(self, client: str) -> Path:
        return committed(self.path, f"clients/{client}/mask.safetensors")

    def _check_spared(self, client: str, base: int, network: ReidNetwork) -> None:
        """Raise where a client's model cannot do without its memory."""
        settings = self.settings
        own = client_parts(network, settings, base)
        if own or settings.personal.own_share:
            what = f"{counted(len(own), 'tensor')} of its own" if own else "its own last model"
            raise MemoryStateError(
                f"the model of client {client} has {what}, which never left it, and its record of "
                f"round {base} is not {self._memories()}: search with it there, or with the merged "
                "model (--global)"
            )

    def _memory_folder(self, client: str) -> MemoryFolder | None:
        """The client's memory, where this machine has it."""
        for root in self._memory_roots():
            if (root / self.state.run / client).is_dir():
                return MemoryFolder(root, self.state.run, client)
        return None

    def _memory_roots(self) -> list[Path]:
        chosen = self.settings.run.memory
        return [*([Path(chosen)] if chosen else []), *map(memory_below, (self.path, user_cache()))]

    def _memories(self) -> str:
        return "in " + " or ".join(map(str, self._memory_roots()))


def open_run(path: Path, *, trust: bool = False) -> TrainedRun:
    """Open a run folder to look at its models; nothing is written in it.

    Args:
        path: the folder; of one that was killed while it merged a round, that round is read.
        trust: whether folders that the settings of somebody else's run name are believed.

    Raises:
        RunError: it is no run folder, nothing was run in it, another version wrote it, or there
            are links in it.
        WeightsError: its model does not fit its settings.
    """
    if not path.exists():
        raise RunError(f"{path} holds no run: there is nothing of that name")
    refuse_links(path)
    if not committed(path, run_files.STATE).is_file():
        raise RunError(
            f"{path} holds no run: expected a folder with config.yaml, state.json and "
            "global.safetensors, as fedklpr run leaves it"
        )
    try:
        settings = read_run_settings(path, trust=trust)
    except SettingsError as error:
        raise RunError(
            f"{path / 'config.yaml'} cannot be used: {error}; if another version of fedklpr wrote "
            "it, open the run with that version"
        ) from error
    state = read_state(path)
    _check_fit(state.tensors, settings, path)
    return TrainedRun(path, settings, state)


def _check_fit(tensors: Mapping[str, np.ndarray], settings: Settings, path: Path) -> None:
    """Raise at the first tensor that the settings' network has otherwise."""
    expected = {spec.name: tuple(spec.shape) for spec in shared_layout(settings)}
    found = {name: array.shape for name, array in tensors.items()}
    for name in [*expected, *(other for other in found if other not in expected)]:
        if expected.get(name) != found.get(name):
            raise WeightsError(
                f"{path / 'global.safetensors'} does not fit model.backbone="
                f"{settings.model.backbone} of its config.yaml at {name!r}: expected shape "
                f"{expected.get(name, 'none')}, found {found.get(name, 'none')}; the two files are "
                "of different runs"
            )


def _no_pictures() -> Pictures:
    nobody = torch.empty(0, dtype=torch.int64)
    return Pictures(torch.empty((0, 3, 1, 1), dtype=torch.uint8), nobody, nobody)


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
