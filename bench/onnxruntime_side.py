#!/usr/bin/env python3
"""Time onnxruntime on the CPU on the inference workloads, as pytorch.py does: one JSON line each.

usage: onnxruntime_side.py [--threads N] [--seconds S] [--nets DIR] [--serve] [WORKLOAD...]

The networks are those of pytorch.py, exported by it (pytorch.py --export DIR).
"""
import os
import measuring
ap = measuring.arguments(1.2)
ap.add_argument("--nets", default="build/bench-nets")
a = ap.parse_args()
import numpy as np, onnxruntime as ort
ort.set_default_logger_severity(3)
rs = np.random.RandomState(1)
INPUTS = {"infer_mlp_b1": [(1, 784)], "infer_resnet20_b1": [(1, 3, 32, 32)], "infer_resnet50_b1": [(1, 3, 224, 224)], "infer_gru_step": [(1, 64), (1, 64)]}


def make(name):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = a.threads, 1
    session = ort.InferenceSession(os.path.join(a.nets, name + ".onnx"), options, providers=["CPUExecutionProvider"])
    feed = {i.name: rs.rand(*s).astype(np.float32) for i, s in zip(session.get_inputs(), INPUTS[name])}
    return lambda: session.run(None, feed)


measuring.run(a, INPUTS, make, "onnxruntime-" + ort.__version__)
