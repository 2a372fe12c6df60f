#!/usr/bin/env python3
"""Makes tests/golden/golden.lua: what PyTorch 2.x computes for the cases below, in float64, forward and backward.

Run by hand (pip install torch numpy; python3 tests/golden/make.py), never by the suite, which only reads the file.
A case is a name, inputs, the expression in Lua and the same thing in PyTorch. Inputs are made by one formula that the Lua side has too:
    value(i, seed) = ((37 i + 101 seed) mod 113 - 56) / 40,   i = 0, 1, ...
so only results are stored: each output, and the gradient of every input of sum(w * output), w(i) = ((7 i) mod 11 - 5) / 5.
Kinds: "f" that value; "p" |value| + 0.3; "u" a probability in (0.05, 0.95); "s" log-probabilities along dimension 2; ("i", C) whole numbers 0..C-1
(classes: Lua gets 1 more); "k" kept statistics, no gradient; "v" the same, positive; "pos" rows of probabilities.
"""
import os
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
D = torch.float64


def raw(n, seed):
    return [((37 * i + 101 * seed) % 113 - 56) / 40 for i in range(n)]


def make(kind, shape, seed):
    n = 1
    for d in shape:
        n *= d
    if isinstance(kind, tuple):
        return torch.tensor([(i * 7 + i // 3 + seed) % kind[1] for i in range(n)], dtype=torch.int64).reshape(shape)
    v = torch.tensor(raw(n, seed), dtype=D).reshape(shape)
    if kind in ("p", "v"):
        v = v.abs() + 0.3
    if kind == "u":
        v = 0.5 + v * 0.3
    if kind == "pos":
        v = torch.softmax(v, 1)
    if kind == "s":
        v = torch.log_softmax(v, 1)
    if kind not in ("k", "v"):
        v = v.detach().requires_grad_()
    return v


def weight(n):
    return torch.tensor([((7 * i) % 11 - 5) / 5 for i in range(n)], dtype=D)


CASES = []


def case(name, inputs, lua, fn):
    CASES.append((name, inputs, lua, fn))


X = ("x", "f", (2, 4, 6, 5), 1)
case("conv2d", [X, ("w", "f", (3, 4, 3, 3), 2), ("b", "f", (3,), 3)], "sn.conv2d(x, w, b)", lambda x, w, b: F.conv2d(x, w, b))
case("conv2d stride padding", [X, ("w", "f", (3, 4, 3, 2), 2), ("b", "f", (3,), 3)], "sn.conv2d(x, w, b, {stride={2,1}, padding={1,2}})",
     lambda x, w, b: F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2)))
case("conv2d dilation", [X, ("w", "f", (2, 4, 2, 2), 2)], "sn.conv2d(x, w, nil, {dilation={2,3}, padding=2})",
     lambda x, w: F.conv2d(x, w, None, dilation=(2, 3), padding=2))
case("conv2d groups", [X, ("w", "f", (4, 2, 3, 3), 2), ("b", "f", (4,), 3)], "sn.conv2d(x, w, b, {groups=2, padding=1})",
     lambda x, w, b: F.conv2d(x, w, b, groups=2, padding=1))
case("conv2d depthwise stride", [X, ("w", "f", (8, 1, 3, 3), 2)], "sn.conv2d(x, w, nil, {groups=4, stride=2, padding=1})",
     lambda x, w: F.conv2d(x, w, None, groups=4, stride=2, padding=1))
case("conv2d 1x1", [X, ("w", "f", (5, 4, 1, 1), 2), ("b", "f", (5,), 3)], "sn.conv2d(x, w, b)", lambda x, w, b: F.conv2d(x, w, b))
P = ("x", "f", (2, 2, 5, 4), 4)
case("max_pool2d", [P], "(sn.max_pool2d(x, 2))", lambda x: F.max_pool2d(x, 2))
case("max_pool2d options", [P], "(sn.max_pool2d(x, {3,2}, {stride={2,1}, padding=1}))", lambda x: F.max_pool2d(x, (3, 2), stride=(2, 1), padding=1))
case("avg_pool2d", [P], "sn.avg_pool2d(x, 2)", lambda x: F.avg_pool2d(x, 2))
case("avg_pool2d options", [P], "sn.avg_pool2d(x, {3,2}, {stride={1,2}, padding=1})", lambda x: F.avg_pool2d(x, (3, 2), stride=(1, 2), padding=1))

L = ("x", "f", (4, 5), 5)
Y = ("y", ("i", 5), (4,), 2)
case("cross_entropy", [L, Y], "sn.cross_entropy(x, y)", lambda x, y: F.cross_entropy(x, y))
case("cross_entropy weight", [L, Y, ("w", "v", (5,), 6)], "sn.cross_entropy(x, y, {weight=w})", lambda x, y, w: F.cross_entropy(x, y, weight=w))
case("cross_entropy smoothing", [L, Y], "sn.cross_entropy(x, y, {label_smoothing=0.1})", lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1))
case("cross_entropy weight smoothing", [L, Y, ("w", "v", (5,), 6)], "sn.cross_entropy(x, y, {weight=w, label_smoothing=0.2})",
     lambda x, y, w: F.cross_entropy(x, y, weight=w, label_smoothing=0.2))
case("cross_entropy ignore", [L, Y], "sn.cross_entropy(x, y, {ignore_index=3})", lambda x, y: F.cross_entropy(x, y, ignore_index=2))
case("cross_entropy sum", [L, Y], "sn.cross_entropy(x, y, {reduction='sum'})", lambda x, y: F.cross_entropy(x, y, reduction="sum"))
case("nll_loss", [("x", "s", (4, 5), 5), Y], "sn.nll_loss(x, y)", lambda x, y: F.nll_loss(x, y))
T = ("t", "f", (4, 5), 7)
case("mse_loss", [L, T], "sn.mse_loss(x, t)", lambda x, t: F.mse_loss(x, t))
case("l1_loss", [L, T], "sn.l1_loss(x, t)", lambda x, t: F.l1_loss(x, t))
case("huber_loss", [L, T], "sn.huber_loss(x, t, {delta=0.7})", lambda x, t: F.huber_loss(x, t, delta=0.7))
case("bce_with_logits", [L, ("t", "u", (4, 5), 7)], "sn.bce_with_logits(x, t)", lambda x, t: F.binary_cross_entropy_with_logits(x, t))
case("bce", [("x", "u", (4, 5), 5), ("t", "u", (4, 5), 7)], "sn.bce(x, t)", lambda x, t: F.binary_cross_entropy(x, t))

N = ("x", "f", (3, 2, 4, 3), 8)
case("batch_norm train", [N, ("w", "f", (2,), 1), ("b", "f", (2,), 2)], "BATCH_NORM_TRAIN",
     lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=1e-5))
case("batch_norm eval", [N, ("w", "f", (2,), 1), ("b", "f", (2,), 2), ("m", "k", (2,), 3), ("v", "v", (2,), 4)], "BATCH_NORM_EVAL",
     lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b, training=False, eps=1e-5))
case("layer_norm", [("x", "f", (3, 4, 5), 8), ("w", "f", (4, 5), 1), ("b", "f", (4, 5), 2)], "LAYER_NORM",
     lambda x, w, b: F.layer_norm(x, (4, 5), w, b))

X3, Y3 = ("x", "f", (2, 5, 7), 3), ("y", ("i", 5), (2, 7), 1)
case("cross_entropy 3-d", [X3, Y3, ("w", "v", (5,), 4)], "sn.cross_entropy(x, y, {weight=w, label_smoothing=0.1, ignore_index=2})",
     lambda x, y, w: F.cross_entropy(x, y, weight=w, label_smoothing=0.1, ignore_index=1))
case("cross_entropy none", [X3, Y3], "sn.cross_entropy(x, y, {reduction='none'})", lambda x, y: F.cross_entropy(x, y, reduction="none"))
case("cross_entropy probabilities", [L, ("t", "pos", (4, 5), 7), ("w", "v", (5,), 4)], "sn.cross_entropy(x, t, {weight=w, label_smoothing=0.1})",
     lambda x, t, w: F.cross_entropy(x, t, weight=w, label_smoothing=0.1))
case("nll_loss weight ignore", [("x", "s", (4, 5), 5), Y, ("w", "v", (5,), 4)], "sn.nll_loss(x, y, w, {ignore_index=3})",
     lambda x, y, w: F.nll_loss(x, y, weight=w, ignore_index=2))
case("smooth_l1_loss", [L, ("t", "f", (4, 5), 7)], "sn.smooth_l1_loss(x, t, {beta=0.7})", lambda x, t: F.smooth_l1_loss(x, t, beta=0.7))
case("kl_div", [("x", "s", (4, 5), 5), ("t", "pos", (4, 5), 7)], "sn.kl_div(x, t, {reduction='batchmean'})", lambda x, t: F.kl_div(x, t, reduction="batchmean"))
case("bce weight", [("x", "u", (4, 5), 5), ("t", "u", (4, 5), 7), ("w", "v", (5,), 2)], "sn.binary_cross_entropy(x, t, w)",
     lambda x, t, w: F.binary_cross_entropy(x, t, weight=w))
case("bce_with_logits pos_weight", [L, ("t", "u", (4, 5), 7), ("w", "v", (5,), 2), ("q", "v", (5,), 9)], "sn.bce_with_logits(x, t, w, q, {reduction='sum'})",
     lambda x, t, w, q: F.binary_cross_entropy_with_logits(x, t, weight=w, pos_weight=q, reduction="sum"))
case("batch_norm 2-d", [("x", "f", (6, 3), 4), ("w", "f", (3,), 1), ("b", "f", (3,), 2)], "sn.batch_norm(x, w, b)",
     lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True))
case("group_norm", [("x", "f", (2, 4, 5), 8), ("w", "f", (4,), 1), ("b", "f", (4,), 2)], "sn.group_norm(x, 2, w, b)", lambda x, w, b: F.group_norm(x, 2, w, b))
case("rms_norm", [("x", "f", (3, 5), 8), ("w", "f", (5,), 1)], "sn.rms_norm(x, w, {epsilon=1e-4})", lambda x, w: F.rms_norm(x, (5,), w, eps=1e-4))

E = ("x", "f", (3, 4), 9)
for name in ("sigmoid", "softplus", "logsigmoid", "silu", "mish", "selu", "elu", "hardswish", "hardsigmoid", "hardtanh", "relu6", "softsign", "gelu", "erf", "tanh", "expm1"):
    f = getattr(F, name, None) or getattr(torch, name)
    case(name, [E], "sn.%s(x)" % name, (lambda f: lambda x: f(x))(f))
case("gelu tanh", [E], "sn.gelu_tanh(x)", lambda x: F.gelu(x, approximate="tanh"))
case("leaky_relu", [E], "sn.leaky_relu(x, 0.2)", lambda x: F.leaky_relu(x, 0.2))
case("softmax", [E], "sn.softmax(x, 1)", lambda x: F.softmax(x, 0))
case("log_softmax", [E], "sn.log_softmax(x, 2)", lambda x: F.log_softmax(x, 1))
case("logsumexp", [E], "sn.logsumexp(x, 2)", lambda x: torch.logsumexp(x, 1))
case("std var", [E], "sn.std(x, 2) + sn.var(x, 2)", lambda x: x.std(1) + x.var(1))
case("var biased", [E], "sn.var(x, 1, {unbiased=false})", lambda x: x.var(0, correction=0))
case("prod", [E], "sn.prod(x, 2)", lambda x: x.prod(1))
case("cumsum", [E], "sn.cumsum(x, 2)", lambda x: x.cumsum(1))
case("norm", [E], "sn.norm(x)", lambda x: x.norm())
case("pow", [("x", "p", (3, 4), 9), ("e", "f", (4,), 2)], "x ^ e", lambda x, e: x**e)
case("atan2", [E, ("z", "f", (3, 1), 4)], "sn.atan2(x, z)", lambda x, z: torch.atan2(x, z))
case("remainder", [E, ("z", "p", (3, 1), 4)], "x % z", lambda x, z: torch.remainder(x, z))
case("matmul broadcast", [("x", "f", (2, 1, 3, 4), 1), ("z", "f", (5, 4, 2), 2)], "x:matmul(z)", lambda x, z: x @ z)
case("linear", [("x", "f", (2, 3, 4), 1), ("w", "f", (5, 4), 2), ("b", "f", (5,), 3)], "sn.linear(x, w, b)", lambda x, w, b: F.linear(x, w, b))
case("embedding", [("i", ("i", 6), (3, 4), 1), ("w", "f", (6, 3), 2)], "sn.embedding(i, w)", lambda i, w: F.embedding(i, w))
case("gather", [("x", "f", (4, 5), 1), ("i", ("i", 5), (4, 3), 2)], "x:gather(2, i)", lambda x, i: x.gather(1, i))
case("pad", [("x", "f", (2, 3, 4), 1)], "PAD", lambda x: F.pad(x, (1, 2, 0, 1), value=0.5))


def recurrent(fn, states):
    """torch.lstm / torch.gru with everything that comes out in one row."""
    def run(x, *rest):
        h, w = rest[:states], rest[states:]
        if not h:
            h = [torch.zeros(x.shape[0], w[1].shape[1], dtype=D)] * (2 if fn is torch.lstm else 1)
        h = [t.unsqueeze(0) for t in h]
        out = fn(x, tuple(h) if fn is torch.lstm else h[0], w, len(w) > 2, 1, 0.0, False, False, True)
        return torch.cat([t.flatten() for t in out])
    return run


def gates(n, f, h):
    return [("w", "f", (n * h, f), 2), ("u", "f", (n * h, h), 3), ("b", "f", (n * h,), 4), ("d", "f", (n * h,), 5)]


def row(*names):
    return "sn.cat({%s}, 1)" % ", ".join(n + ":flatten()" for n in names)


def several(call, *names):
    return "(function() local %s = %s return %s end)()" % (", ".join(names), call, row(*names))


S, H0, C0 = ("x", "f", (3, 4, 5), 1), ("h", "f", (3, 6), 7), ("c", "f", (3, 6), 8)
case("lstm", [S, H0, C0] + gates(4, 5, 6), several("sn.lstm(x, h, c, w, u, b, d)", "y", "hn", "cn"), recurrent(torch.lstm, 2))
case("lstm plain", [S] + gates(4, 5, 6)[:2], several("sn.lstm(x, nil, nil, w, u)", "y", "hn", "cn"), recurrent(torch.lstm, 0))
case("gru", [S, H0] + gates(3, 5, 6), several("sn.gru(x, h, w, u, b, d)", "y", "hn"), recurrent(torch.gru, 1))
case("gru plain", [S] + gates(3, 5, 6)[:2], several("sn.gru(x, nil, w, u)", "y", "hn"), recurrent(torch.gru, 0))
X2 = ("x", "f", (3, 5), 1)
case("lstm_cell", [X2, H0, C0] + gates(4, 5, 6), several("sn.lstm_cell(x, h, c, w, u, b, d)", "hn", "cn"),
     lambda x, h, c, *w: torch.cat([t.flatten() for t in torch.lstm_cell(x, (h, c), *w)]))
case("gru_cell", [X2, H0] + gates(3, 5, 6), "sn.gru_cell(x, h, w, u, b, d)", lambda x, h, *w: torch.gru_cell(x, h, *w))

A = [("q", "f", (2, 2, 5, 4), 1), ("k", "f", (2, 2, 5, 4), 2), ("v", "f", (2, 2, 5, 3), 3)]
SDP = F.scaled_dot_product_attention
case("attention", A, "sn.scaled_dot_product_attention(q, k, v)", lambda q, k, v: SDP(q, k, v))
case("attention causal", A, "sn.scaled_dot_product_attention(q, k, v, {causal=true})", lambda q, k, v: SDP(q, k, v, is_causal=True))
case("attention scale", [A[0], ("k", "f", (2, 2, 7, 4), 2), ("v", "f", (2, 2, 7, 3), 3)], "sn.scaled_dot_product_attention(q, k, v, {scale=0.3})",
     lambda q, k, v: SDP(q, k, v, scale=0.3))
case("attention added mask", A + [("m", "f", (2, 1, 5, 5), 4)], "sn.scaled_dot_product_attention(q, k, v, m)", lambda q, k, v, m: SDP(q, k, v, attn_mask=m))
case("attention boolean mask", A + [("m", "k", (5, 5), 6)], "sn.scaled_dot_product_attention(q, k, v, m:gt(-0.5))",
     lambda q, k, v, m: SDP(q, k, v, attn_mask=m > -0.5))


def layer(name, lua, module, shape, run):
    """A layer with weights by the formula; only its input has a gradient."""
    module = module.to(D)
    keys = [k for k, _ in module.named_parameters()]
    inputs = [("x", "f", shape, 1)] + [("a%d" % i, "k", tuple(p.shape), 2 + i) for i, (_, p) in enumerate(module.named_parameters())]
    state = ", ".join("['%s'] = a%d" % (k, i) for i, k in enumerate(keys))
    text = "(function() local l = %s l:build{%s} l:to('float64') l:load_state{%s} return l(x) end)()" % (lua, ", ".join(map(str, shape[1:])), state)

    def fn(x, *w):
        with torch.no_grad():
            for p, t in zip(module.parameters(), w):
                p.copy_(t)
        module.requires_grad_(False)
        return run(module, x)
    case(name, inputs, text, fn)


nn = torch.nn
layer("LSTM", "sn.LSTM{4, num_layers=2, bidirectional=true}", nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True), (2, 5, 3), lambda m, x: m(x)[0])
layer("GRU", "sn.GRU{4, num_layers=2, bidirectional=true}", nn.GRU(3, 4, 2, batch_first=True, bidirectional=True), (2, 5, 3), lambda m, x: m(x)[0])
layer("LSTM without bias", "sn.LSTM{4, bias=false}", nn.LSTM(3, 4, batch_first=True, bias=False), (2, 5, 3), lambda m, x: m(x)[0])
layer("MultiheadAttention", "sn.MultiheadAttention{6, 2}", nn.MultiheadAttention(6, 2, batch_first=True), (2, 4, 6), lambda m, x: m(x, x, x, need_weights=False)[0])
layer("MultiheadAttention causal", "sn.MultiheadAttention{6, 3, causal=true}", nn.MultiheadAttention(6, 3, batch_first=True), (2, 4, 6),
      lambda m, x: m(x, x, x, need_weights=False, is_causal=True, attn_mask=nn.Transformer.generate_square_subsequent_mask(4, dtype=D))[0])


def steps(cls, **options):
    def run(w, v):
        a, b = w.detach().clone().requires_grad_(), v.detach().clone().requires_grad_()
        opt = cls([a, b], **options)
        for k in range(5):
            a.grad = torch.tensor(raw(a.numel(), 20 + k), dtype=D).reshape(a.shape)
            b.grad = torch.tensor(raw(b.numel(), 30 + k), dtype=D).reshape(b.shape)
            opt.step()
        return torch.cat([a.detach().flatten(), b.detach().flatten()])
    return run


def optimizer(name, lua, cls, **options):
    case("5 steps of " + name, [("w", "k", (3, 4), 1), ("v", "k", (5,), 2)], "STEPS " + lua, steps(cls, **options))


optimizer("SGD", "sn.SGD(p, {lr=0.1})", torch.optim.SGD, lr=0.1)
optimizer("SGD with momentum", "sn.SGD(p, {lr=0.1, momentum=0.9})", torch.optim.SGD, lr=0.1, momentum=0.9)
optimizer("SGD with nesterov and weight decay", "sn.SGD(p, {lr=0.1, momentum=0.9, nesterov=true, weight_decay=0.01})", torch.optim.SGD,
          lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)
optimizer("RMSProp", "sn.RMSProp(p, {lr=0.01, rho=0.9, epsilon=1e-6})", torch.optim.RMSprop, lr=0.01, alpha=0.9, eps=1e-6)
optimizer("Adam", "sn.Adam(p, {lr=0.01})", torch.optim.Adam, lr=0.01)
optimizer("Adam with weight decay", "sn.Adam(p, {lr=0.01, weight_decay=0.1})", torch.optim.Adam, lr=0.01, weight_decay=0.1)
optimizer("AdamW", "sn.AdamW(p, {lr=0.01, weight_decay=0.1})", torch.optim.AdamW, lr=0.01, weight_decay=0.1)

# Forms that are longer in Lua.
LUA = {
    "BATCH_NORM_TRAIN": "sn.batch_norm(x, w, b, nil, nil, {training=true})",
    "BATCH_NORM_EVAL": "sn.batch_norm(x, w, b, m, v, {training=false})",
    "LAYER_NORM": "sn.layer_norm(x, w, b, {ndim=2})",
    "PAD": "sn.pad(x, {1,2,0,1}, {value=0.5})",
}


# Under torch.autocast("cpu", torch.bfloat16), on float32 inputs: autocast.lua. A list's "dtype" is PyTorch's.
AUTOCAST = []


def auto(name, inputs, lua, fn):
    AUTOCAST.append((name, inputs, lua, fn))


A = ("x", "f", (3, 5), 1)
auto("matmul", [A, ("y", "f", (5, 4), 2)], "sn.matmul(x, y)", torch.matmul)
auto("bmm", [("x", "f", (2, 3, 5), 1), ("y", "f", (2, 5, 4), 2)], "sn.bmm(x, y)", torch.bmm)
auto("matmul with a vector", [A, ("y", "f", (5,), 2)], "sn.matmul(x, y)", torch.matmul)
auto("addmm", [("z", "f", (3, 4), 3), A, ("y", "f", (5, 4), 2)], "sn.addmm(z, x, y)", torch.addmm)
auto("linear", [A, ("w", "f", (4, 5), 2), ("b", "f", (4,), 3)], "sn.linear(x, w, b)", F.linear)
auto("linear, used twice", [A, ("w", "f", (5, 5), 2)], "sn.linear(sn.linear(x, w):relu(), w)", lambda x, w: F.linear(F.linear(x, w).relu(), w))
auto("conv2d", [X, ("w", "f", (3, 4, 3, 3), 2), ("b", "f", (3,), 3)], "sn.conv2d(x, w, b, {padding=1})", lambda x, w, b: F.conv2d(x, w, b, padding=1))
auto("conv1d", [("x", "f", (2, 4, 9), 1), ("w", "f", (3, 4, 3), 2)], "sn.conv1d(x, w, nil, {stride=2})", lambda x, w: F.conv1d(x, w, stride=2))
auto("conv_transpose2d", [("x", "f", (2, 3, 4, 4), 1), ("w", "f", (3, 2, 3, 3), 2)], "sn.conv_transpose2d(x, w, nil, {stride=2})",
     lambda x, w: F.conv_transpose2d(x, w, stride=2))
auto("attention", [("q", "f", (1, 2, 5, 4), 1), ("k", "f", (1, 2, 5, 4), 2), ("v", "f", (1, 2, 5, 4), 3)],
     "sn.scaled_dot_product_attention(q, k, v, {causal=true})", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))
auto("residual", [("x", "f", (3, 5), 1), ("w", "f", (5, 5), 2)], "x + sn.linear(x, w):tanh()", lambda x, w: x + F.linear(x, w).tanh())
auto("mse_loss", [A, ("w", "f", (4, 5), 2), ("t", "k", (3, 4), 4)], "sn.mse_loss(sn.linear(x, w), t)", lambda x, w, t: F.mse_loss(F.linear(x, w), t))
auto("cross_entropy", [A, ("w", "f", (4, 5), 2), ("t", ("i", 4), (3,), 1)], "sn.cross_entropy(sn.linear(x, w), t)",
     lambda x, w, t: F.cross_entropy(F.linear(x, w), t))
auto("conv, batch_norm, relu", [X, ("w", "f", (3, 4, 3, 3), 2), ("g", "p", (3,), 3), ("b", "f", (3,), 4)],
     "sn.batch_norm(sn.conv2d(x, w), g, b):relu()", lambda x, w, g, b: F.batch_norm(F.conv2d(x, w), None, None, g, b, training=True).relu())


def numbers(t):
    return "{" + ",".join("%.13g" % v for v in t.detach().to(D).flatten().tolist()) + "}"


def narrow(t):
    return t.detach().float().requires_grad_(t.requires_grad) if t.is_floating_point() else t


def write(file, cases, autocast):
    out = ["-- %s - made by make.py from PyTorch %s; not edited by hand." % (file, torch.__version__.split("+")[0]), "return {"]
    for name, inputs, lua, fn in cases:
        tensors = [make(kind, shape, seed) for _, kind, shape, seed in inputs]
        if autocast:
            tensors = [narrow(t) for t in tensors]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = fn(*tensors)
        out.append("{name=%s, lua=%s," % (repr(name), '"%s"' % LUA.get(lua, lua)))
        spec = []
        for n, kind, shape, seed in inputs:
            k = "i%d" % kind[1] if isinstance(kind, tuple) else kind
            spec.append("{'%s','%s',%d,{%s}}" % (n, k, seed, ",".join(map(str, shape))))
        out.append(" inputs={%s}," % ",".join(spec))
        if autocast:
            out.append(" dtype='%s'," % str(y.dtype).replace("torch.", ""))
            y = y.float()
        out.append(" shape={%s}, y=%s," % (",".join(map(str, y.shape)), numbers(y)))
        if y.requires_grad:
            loss = (y.flatten() * weight(y.numel()).to(y.dtype)).sum()
            want = [(n[0], t) for n, t in zip(inputs, tensors) if t.requires_grad]
            grads = torch.autograd.grad(loss, [t for _, t in want], allow_unused=True)
            g = ["%s=%s" % (n, numbers(g)) for (n, _), g in zip(want, grads) if g is not None]
            out.append(" grads={%s}," % ", ".join(g))
        out.append("},")
    out.append("}")
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), file)
    with open(path, "w") as f:
        f.write("\n".join(out) + "\n")
    print(path, len(cases), "cases")


write("golden.lua", CASES, False)
write("autocast.lua", AUTOCAST, True)
