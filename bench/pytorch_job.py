#!/usr/bin/env python3
"""Whole jobs in PyTorch, one JSON line at the end: {"job", "system", "epoch_s", "peak_mb"}.

usage: pytorch_job.py import|first|mlp|conv [--threads N] [--data DIR]

import: the library alone; first: up to the end of the first step of mlp_seed; mlp and conv: one epoch of Fashion-MNIST with the networks of
mlp_seed and conv_mnist through a DataLoader, files read before.
"""
import argparse, gzip, json, os, time
ap = argparse.ArgumentParser()
ap.add_argument("job", choices=["import", "first", "mlp", "conv"])
ap.add_argument("--threads", type=int, default=1)
ap.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
a = ap.parse_args()
for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[k] = str(a.threads)
import torch, torch.nn as nn, torch.nn.functional as F
torch.set_num_threads(a.threads)
torch.manual_seed(1)
result = {"job": a.job, "system": f"torch-{torch.__version__}"}


def idx(name, offset):
    import numpy as np
    with gzip.open(os.path.join(a.data, name + "-ubyte.gz")) as f:
        return torch.from_numpy(np.frombuffer(f.read(), np.uint8, offset=offset).copy())


def images(part, shape):
    return idx(part + "-images-idx3", 16).view(-1, *shape).float().div_(255), idx(part + "-labels-idx1", 8).long()


def network(conv):
    if conv:
        m = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(.5), nn.Linear(1600, 10))
        return m, torch.optim.Adam(m.parameters(), 1e-3, fused=True)
    m = nn.Sequential(nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 10))
    return m, torch.optim.RMSprop(m.parameters(), 1e-3, alpha=.9)


def step(m, opt, x, y):
    opt.zero_grad(set_to_none=True)
    F.cross_entropy(m(x), y).backward()
    opt.step()


if a.job == "first":
    step(*network(False), torch.rand(32, 784), torch.randint(0, 10, (32,)))
elif a.job in ("mlp", "conv"):
    conv = a.job == "conv"
    shape, batch = ((1, 28, 28), 128) if conv else ((784,), 32)
    train = torch.utils.data.TensorDataset(*images("train", shape))
    m, opt = network(conv)
    t0 = time.perf_counter()
    for x, y in torch.utils.data.DataLoader(train, batch, shuffle=True):
        step(m, opt, x, y)
    result["epoch_s"] = time.perf_counter() - t0
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        result["peak_mb"] = int(line.split()[1]) / 1000
print(json.dumps(result), flush=True)
