#!/usr/bin/env python3
"""Whole jobs in JAX as in pytorch_job.py, one JSON line at the end: one epoch of Fashion-MNIST with the networks of mlp_seed or conv_mnist.

usage: jax_job.py mlp|conv [--data DIR]    (on one thread: pin it to a core)
"""
import gzip, json, os, sys, time
job, folder = sys.argv[1], sys.argv[3] if len(sys.argv) > 3 else "/usr/share/datasets/fashion-mnist"
sys.argv = sys.argv[:1]
import jax_side as side
import numpy as np, jax


def idx(name, offset):
    with gzip.open(os.path.join(folder, name + "-ubyte.gz")) as f:
        return np.frombuffer(f.read(), np.uint8, offset=offset)


conv = job == "conv"
x = idx("train-images-idx3", 16).reshape((-1, 28, 28, 1) if conv else (-1, 784)).astype(np.float32) / 255
y = idx("train-labels-idx1", 8).astype(np.int32)
side.LR = 1e-3
step, batch = (side.conv_mnist(), 128) if conv else (side.mlp_seed(), 32)
t0 = time.perf_counter()
order = np.random.RandomState(1).permutation(len(y))
for i in range(0, len(y) - batch + 1, batch): # a last, smaller batch would be compiled anew
    k = order[i:i + batch]
    step.x, step.y = x[k], y[k]
    step()
step.done()
result = {"job": job, "system": "jax-" + jax.__version__, "epoch_s": time.perf_counter() - t0}
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        result["peak_mb"] = int(line.split()[1]) / 1000
print(json.dumps(result), flush=True)
