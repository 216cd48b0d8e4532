import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seg_scse.config.schema import LossConfig
from seg_scse.inference.counting import count_split
from seg_scse.losses import build_loss
from seg_scse.metrics.counts import count_pixels
from seg_scse.metrics.scores import score_table

from ..launching import together
from .drawn import Bright, drawn, predictor

CLASSES = ("background", "bright")

WORKER = """
import json, pathlib, sys
from seg_scse import distributed
from seg_scse.inference.counting import count_split
sys.path.insert(0, sys.argv[1])
from drawn import drawn, predictor

with distributed.process_group():
    asked = []
    network, data = predictor(), drawn(5)
    image = data.store.image
    data.store.image = lambda index: (asked.append(index), image(index))[1]
    loss = lambda logits, target: (logits.sigmoid().mean(), {})
    scored = count_split(network, data, [0, 1, 2, 3, 4], 2, loss=loss)
    scored.counts.to_csv(pathlib.Path(sys.argv[2]) / f"{distributed.rank()}.csv")
    print(json.dumps([asked, scored.loss]))
"""


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def counted_by_two(folder: Path) -> list[tuple[list[int], float, str]]:
    """For each of two processes the samples it predicted, the loss it reports and the table it writes."""
    command = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(folder)]
    outputs = together(command, command, MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port())
    return [(*json.loads(out), (folder / f"{rank}.csv").read_text()) for rank, out in enumerate(outputs)]


def test_two_processes_count_each_of_five_samples_once_and_as_one_process_does(tmp_path: Path) -> None:
    first, second = counted_by_two(tmp_path)
    assert (first[0], second[0]) == ([0, 2, 4], [1, 3])
    assert first[1:] == second[1:], "both processes hold the whole"
    one = count_split(predictor(), drawn(5), range(5), 2, loss=lambda logits, _: (logits.sigmoid().mean(), {}))
    one.counts.to_csv(tmp_path / "one.csv")
    assert first[1:] == (one.loss, (tmp_path / "one.csv").read_text())
    assert one.counts.ids == tuple(f"s{index:02}" for index in range(5))


def test_no_batch_size_changes_a_count() -> None:
    data = drawn(6)
    texts = {size: count_split(predictor(batch_size=size), data, range(6), 2).counts for size in (1, 2, 3, 8)}
    tables = [[count.tolist() for count in table.arrays()] for table in texts.values()]
    assert tables[1:] == tables[:1] * 3
    assert 0.5 < score_table(texts[1], CLASSES, "exclude")["dice_pooled"]["bright"] < 1


def test_counts_loss_and_images_are_those_of_single_predictions() -> None:
    data, network, images = drawn(4), predictor(), {}
    loss = build_loss(LossConfig(), 2)
    scored = count_split(network, data, [3, 1], 2, loss=loss, on_image=images.__setitem__, progress="validation")
    assert scored.counts.ids == ("s03", "s01")
    losses = []
    for index, name in ((3, "s03"), (1, "s01")):
        probabilities = network.probabilities(data.store.image(index))
        truth = data.store.mask(index)
        assert np.array_equal(images[index], network.labels(probabilities))
        expected = count_pixels(images[index], truth, 2)
        assert np.array_equal(scored.counts.counts(name).confusion, expected.confusion)
        losses.append(float(loss(probabilities.logit(eps=1e-6)[None], torch.from_numpy(truth)[None])[0]))
    assert scored.loss == pytest.approx(np.mean(losses), abs=1e-7)
    assert losses[0] != losses[1]


def test_without_a_loss_there_is_none_and_without_samples_an_empty_table() -> None:
    data = drawn(2)
    assert count_split(predictor(), data, [0], 2).loss is None
    assert len(count_split(predictor(), data, [], 2).counts) == 0


def test_the_labels_of_a_multilabel_network_are_counted_one_by_one() -> None:
    data = drawn(2)
    for mask in data.store._masks:
        mask[mask != 255] *= 3  # both labels
    network = predictor(Bright(3, 2), multilabel=True)
    table = count_split(network, data, [0, 1], 3).counts
    assert table.task == "multilabel"
    for index, name in enumerate(table.ids):
        bits, truth = network.labels(network.probabilities(data.store.image(index))), data.store.mask(index)
        assert np.array_equal(table.counts(name).confusion, count_pixels(bits, truth, 3, "multilabel").confusion)
    assert table.arrays().tp[:, 1:].min() > 0
