"""Claims about fedklpr_flwr.launch.simulated_clients: cores and GPUs are shared, none is idle."""

import pytest

from fedklpr_flwr.launch.simulated_clients import federation_words, gpu_share


@pytest.mark.parametrize(
    ("gpus", "cores", "threads", "clients", "share"),
    [
        (1, 16, 1, 8, 0.125),
        (1, 2, 1, 8, 0.5),
        (1, 16, 16, 8, 1.0),
        (1, 2, 4, 8, 1.0),
        (2, 16, 1, 8, 0.25),
        (4, 16, 1, 3, 1.0),
        (1, 64, 1, 3, 0.3333),
    ],
)
def test_as_many_clients_share_a_gpu_as_the_cores_run_at_once(gpus, cores, threads, clients, share):
    assert gpu_share(gpus, cores=cores, threads=threads, clients=clients) == share


def test_a_run_on_the_cpu_asks_for_no_gpu(tiny_settings):
    assert federation_words(tiny_settings(), 3) == "num-supernodes=3 client-resources-num-cpus=1"
