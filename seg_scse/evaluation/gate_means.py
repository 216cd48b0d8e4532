"""Gates averaged over training images, and a network that goes on with these averages in their place."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from seg_scse.attention import probe
from seg_scse.attention.functional import Gates
from seg_scse.data.prepare import PreparedData
from seg_scse.errors import ConfigError
from seg_scse.inference.predictor import Network, Predictor

MEAN_IMAGES = 100
"""Most training images that the means are taken from."""

FROZEN = "-frozen"
"""End of the name of an evaluation's folder, `evaluation/test-frozen`."""


def subset(indices: Sequence[int], limit: int | None, seed: int) -> list[int]:
    """Choose at most `limit` of the indices at random, in their order."""
    if limit is None or limit >= len(indices):
        return list(indices)
    return sorted(np.random.default_rng(seed).choice(indices, limit, replace=False).tolist())


def mean_indices(data: PreparedData, seed: int = 0) -> list[int]:
    """Return positions of the training images that the means are taken from.

    Raises:
        DataError: there are no training images.
    """
    return subset(data.require("train", "The means are taken from it."), MEAN_IMAGES, seed)


def gate_means(predictor: Predictor, data: PreparedData, seed: int = 0) -> dict[str, Gates]:
    """Average the gates over training images, as they are seen in prediction.

    Returns:
        as `probe.gate_means`.
    """
    with probe.averaged(predictor.model) as means:
        for index in mean_indices(data, seed):
            predictor.probabilities(data.store.image(index))
    return means()


@contextmanager
def frozen_gates(network: Network, data: PreparedData) -> Iterator[None]:
    """Run a network with every gate at its mean over training images.

    Args:
        network: one predictor, or several.
        data: what they were trained with.

    Raises:
        ConfigError: a network has no gates, or some without a channel or spatial gate by itself.
        DataError: there are no training images.
    """
    with ExitStack() as stack:
        for member in network.members:
            _require_separable(member)
            means = gate_means(member, data)
            changes = {site: probe.constant(gates) for site, gates in means.items()}
            stack.enter_context(probe.replaced(member.model, changes))
        yield


def _require_separable(predictor: Predictor) -> None:
    gates = probe.gates_by_site(predictor.model)
    others = [
        f"{site} ({probe.kind_of(gate)})" for site, gate in gates.items() if not isinstance(gate, probe.Separable)
    ]
    if others:
        raise ConfigError(
            f"gates without a channel or spatial gate by itself have no mean that could stand in for them: "
            f"{', '.join(others)}. This control is for cse, sse, scse, constant and attention_gate."
        )
