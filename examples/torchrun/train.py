"""One process for each GPU; torchrun starts them and says which is which."""

import os

import torch
import torch.distributed as dist

backend = "nccl" if torch.cuda.is_available() else "gloo"
dist.init_process_group(backend)
rank = int(os.environ["RANK"])
total = torch.tensor(
    [float(rank + 1)], device=f"cuda:{os.environ['LOCAL_RANK']}" if backend == "nccl" else "cpu"
)
dist.all_reduce(total)
if rank == 0:
    print(f"{dist.get_world_size()} processes, sum {total.item():g}")
dist.destroy_process_group()
