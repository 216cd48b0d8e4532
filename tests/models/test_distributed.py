import json
import socket
import sys

import pytest

from ..launching import together

WORKER = """
import json
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from seg_scse.models import build_model

rank, port, config = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
torch.manual_seed(0)
model = build_model(config, 3, 2)
model = DistributedDataParallel(model, find_unused_parameters=False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
torch.manual_seed(rank)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.rand(2, 3, 64, 64)).mean().backward()
    optimizer.step()
total = sum(value.double().sum() for value in model.module.gates.parameters())
both = [torch.zeros_like(total) for _ in range(2)]
dist.all_gather(both, total.detach())
assert both[0] == both[1], both
dist.destroy_process_group()
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
    port = str(free_port())
    command = [sys.executable, "-c", WORKER]
    outputs = together(*([*command, str(rank), port, json.dumps(config)] for rank in range(2)))
    assert ["trained" in out for out in outputs] == [True, True]
