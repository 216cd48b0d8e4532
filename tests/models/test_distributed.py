import json
import socket
import sys

import pytest

from ..launching import together

WORKER = """
import json
import sys
import torch
from torch.nn.parallel import DistributedDataParallel
from seg_scse import distributed
from seg_scse.models import build_model

torch.set_num_threads(1)
with distributed.process_group():
    torch.manual_seed(0)
    model = build_model(json.loads(sys.argv[1]), 3, 2)
    model = DistributedDataParallel(model, find_unused_parameters=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(distributed.rank())
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.rand(2, 3, 64, 64)).mean().backward()
        optimizer.step()
    both = distributed.gather(float(sum(value.double().sum() for value in model.module.gates.parameters())))
    assert both[0] == both[1], both
print("trained")
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        {"encoder": "resnet18", "attention": {"type": "scse", "sites": ["encoder", "decoder", "residual"]}},
        {"encoder": "efficientnet-b0", "attention": {"type": "scse", "sites": ["encoder", "decoder"]}},
        {"encoder": "resnet18", "attention": {"type": "attention_gate", "sites": ["skip"]}},
    ],
    ids=["residual", "efficientnet", "attention gate"],
)
def test_three_steps_of_two_processes_need_no_search_for_unused_parameters(config):
    command = [sys.executable, "-c", WORKER, json.dumps(config)]
    outputs = together(command, command, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
    assert ["trained" in out for out in outputs] == [True, True]
