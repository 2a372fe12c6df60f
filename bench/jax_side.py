#!/usr/bin/env python3
"""Time JAX on the CPU (jitted whole training steps, donated buffers) on workloads of pytorch.py: one JSON line each.

usage: jax_side.py [--threads N] [--seconds S] [--serve] [WORKLOAD...]    (pin to a core with taskset for one thread)

Plain JAX, images with channels last, optimizers written by hand; the learning rate is as small as in pytorch.py and for the same reason.
"""
import os
import measuring
a = measuring.arguments(1.5).parse_args()
for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[k] = str(a.threads)
os.environ["JAX_PLATFORMS"] = "cpu"
more = os.environ.get("XLA_FLAGS", "")
if a.threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1 " + more
import numpy as np, jax, jax.numpy as jnp
from jax import lax
LR = 1e-7
rs = np.random.RandomState(1)


def R(*s): return jnp.asarray(rs.rand(*s).astype(np.float32))
def U(fan, *s): return jnp.asarray(rs.uniform(-fan ** -.5, fan ** -.5, s).astype(np.float32))
def I(hi, *s): return jnp.asarray(rs.randint(0, hi, s).astype(np.int32))
def zeros(p): return jax.tree.map(jnp.zeros_like, p)
def linear(i, o): return (U(i, i, o), U(i, o))
def apply(w, x): return x @ w[0] + w[1]


def cross_entropy(logits, y):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))


# ---- optimizers: (state of the parameters, update)
tm = jax.tree.map

def sgd(lr, momentum=0., decay=0.):
    if not momentum:
        return (lambda p: ()), (lambda g, s, p: (tm(lambda p, g: p - lr * g, p, g), s))
    def update(g, s, p):
        s = tm(lambda m, g, p: momentum * m + g + decay * p, s, g, p)
        return tm(lambda p, m: p - lr * m, p, s), s
    return zeros, update

def rmsprop(lr, rho):
    def update(g, s, p):
        s = tm(lambda v, g: rho * v + (1 - rho) * g * g, s, g)
        return tm(lambda p, v, g: p - lr * g / (jnp.sqrt(v) + 1e-8), p, s, g), s
    return zeros, update

def adam(lr, decay=0., b1=.9, b2=.999):
    def init(p):
        return zeros(p), zeros(p), jnp.zeros((), jnp.int32)
    def update(g, s, p):
        m, v, t = s
        t = t + 1
        tf = t.astype(jnp.float32)
        c1, c2 = 1 - b1 ** tf, 1 - b2 ** tf
        m = tm(lambda m, g: b1 * m + (1 - b1) * g, m, g)
        v = tm(lambda v, g: b2 * v + (1 - b2) * g * g, v, g)
        p = tm(lambda p, m, v: p * (1 - lr * decay) - lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), p, m, v)
        return p, (m, v, t)
    return init, update


class Trainer:
    """A step on donated buffers: nothing is copied between steps, and they are not waited for one by one."""
    def __init__(self, loss, p, opt, x, y, aux=None, key=None):
        init, update = opt
        self.state, self.x, self.y = [p, init(p), aux, key], x, y
        def stepf(p, s, aux, key, x, y):
            k = None
            if key is not None:
                key, k = jax.random.split(key)
            (l, aux), g = jax.value_and_grad(lambda p: loss(p, aux, k, x, y), has_aux=True)(p)
            p, s = update(g, s, p)
            return p, s, aux, key, l
        self.f = jax.jit(stepf, donate_argnums=(0, 1, 2, 3)).lower(*self.state, x, y).compile()
    def __call__(self):
        *self.state, self.loss = self.f(*self.state, self.x, self.y)
    def done(self):
        jax.block_until_ready(self.state)


class Op:
    def __init__(self, f, *xs):
        self.f, self.xs = jax.jit(f).lower(*xs).compile(), xs
    def __call__(self):
        jax.block_until_ready(self.f(*self.xs))
    def done(self):
        pass


# ---- networks
def mlp(widths, opt, x, y):
    p = [linear(i, o) for i, o in zip(widths, widths[1:])]
    def loss(p, a, k, x, y):
        for w in p[:-1]:
            x = jax.nn.relu(apply(w, x))
        return cross_entropy(apply(p[-1], x), y), a
    return Trainer(loss, p, opt, x, y)

def mlp_seed(): return mlp([784, 200, 10], rmsprop(LR, .9), R(32, 784), I(10, 32))
def mlp_wide(): return mlp([784, 1024, 1024, 10], adam(LR), R(128, 784), I(10, 128))

def xor_tiny():
    def loss(p, a, k, x, y):
        z = apply(p[1], jax.nn.sigmoid(apply(p[0], x)))
        return jnp.mean(jax.nn.relu(z) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z)))), a
    return Trainer(loss, [linear(2, 3), linear(3, 1)], sgd(LR), R(4, 2), jnp.round(R(4, 1)))

def conv(x, w, stride=1, pad="VALID"):
    return lax.conv_general_dilated(x, w, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))

def maxpool(x):
    b, h, w, c = x.shape
    return x[:, :h // 2 * 2, :w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c).max((2, 4))  # faster here than reduce_window

def conv_mnist():
    p = [(U(9, 3, 3, 1, 32), U(9, 32)), (U(288, 3, 3, 32, 64), U(288, 64)), linear(1600, 10)]
    def loss(p, a, k, x, y):
        h = maxpool(jax.nn.relu(conv(x, p[0][0]) + p[0][1]))
        h = maxpool(jax.nn.relu(conv(h, p[1][0]) + p[1][1]))
        h = h.reshape(h.shape[0], -1)
        h = jnp.where(jax.random.bernoulli(k, .5, h.shape), h / .5, 0.)
        return cross_entropy(apply(p[2], h), y), a
    return Trainer(loss, p, adam(LR), R(128, 28, 28, 1), I(10, 128), key=jax.random.key(0, impl="rbg"))

def batch_norm(x, p, r):
    m = x.mean((0, 1, 2))
    v = jnp.mean(jnp.square(x - m), (0, 1, 2))
    return (x - m) * lax.rsqrt(v + 1e-5) * p[0] + p[1], (r[0] * .9 + m * .1, r[1] * .9 + v * .1)

BLOCKS = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2

def resnet20():
    def scale(c): return jnp.ones(c), jnp.zeros(c)
    def running(c): return jnp.zeros(c), jnp.ones(c)
    p = {"c0": U(27, 3, 3, 3, 16), "b0": scale(16), "f": linear(64, 10),
         "L": [{"c1": U(i * 9, 3, 3, i, o), "b1": scale(o), "c2": U(o * 9, 3, 3, o, o), "b2": scale(o)} for i, o, s in BLOCKS]}
    r = [running(16)] + [(running(o), running(o)) for i, o, s in BLOCKS]
    def loss(p, r, k, x, y):
        P = ((1, 1), (1, 1))
        h, n = batch_norm(conv(x, p["c0"], 1, P), p["b0"], r[0])
        news, h = [n], jax.nn.relu(h)
        for (i, o, s), q, rr in zip(BLOCKS, p["L"], r[1:]):
            t, n1 = batch_norm(conv(h, q["c1"], s, P), q["b1"], rr[0])
            t, n2 = batch_norm(conv(jax.nn.relu(t), q["c2"], 1, P), q["b2"], rr[1])
            news.append((n1, n2))
            if s > 1:
                h = jnp.pad(h[:, ::2, ::2, :], ((0, 0), (0, 0), (0, 0), ((o - i) // 2,) * 2))
            h = jax.nn.relu(t + h)
        return cross_entropy(apply(p["f"], h.mean((1, 2))), y), news
    return Trainer(loss, p, sgd(LR, .9, 1e-4), R(64, 32, 32, 3), I(10, 64), aux=r)

def char_lstm():
    H = 128
    p = {"e": jnp.asarray(rs.randn(65, H).astype(np.float32)), "L": [(U(H, H, 4 * H), U(H, H, 4 * H), U(H, 4 * H)) for _ in range(2)], "o": linear(H, 65)}
    def loss(p, a, k, x, y):
        h = p["e"][x].transpose(1, 0, 2)
        for wi, wh, b in p["L"]:
            def cell(state, xt):
                hh, cc = state
                i, f, g, o = jnp.split(xt + hh @ wh, 4, -1)
                cc = jax.nn.sigmoid(f) * cc + jax.nn.sigmoid(i) * jnp.tanh(g)
                hh = jax.nn.sigmoid(o) * jnp.tanh(cc)
                return (hh, cc), hh
            z = jnp.zeros((x.shape[0], H))
            _, h = lax.scan(cell, (z, z), h @ wi + b)
        return cross_entropy(apply(p["o"], h.transpose(1, 0, 2)).reshape(-1, 65), y), a
    return Trainer(loss, p, rmsprop(LR, .99), I(65, 50, 50), I(65, 2500))

def layer_norm(x, p):
    return (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * p[0] + p[1]

def char_gpt():
    D, NH, T = 128, 4, 64
    def scale(): return jnp.ones(D), jnp.zeros(D)
    def normal(*s): return jnp.asarray(rs.randn(*s).astype(np.float32))
    p = {"te": normal(65, D), "pe": normal(T, D), "ln": scale(), "o": U(D, D, 65),
         "B": [{"l1": scale(), "l2": scale(), "qkv": linear(D, 3 * D), "pr": linear(D, D), "f1": linear(D, 4 * D), "f2": linear(4 * D, D)} for _ in range(4)]}
    mask = np.tril(np.ones((T, T), bool))
    def loss(p, a, k, x, y):
        B = x.shape[0]
        h = p["te"][x] + p["pe"]
        for q in p["B"]:
            qq, kk, vv = (t.reshape(B, T, NH, D // NH).transpose(0, 2, 1, 3) for t in jnp.split(apply(q["qkv"], layer_norm(h, q["l1"])), 3, -1))
            s = jnp.where(mask, qq @ kk.transpose(0, 1, 3, 2) * (D // NH) ** -.5, -1e9)
            o = jax.nn.softmax(s, -1) @ vv
            h = h + apply(q["pr"], o.transpose(0, 2, 1, 3).reshape(B, T, D))
            h = h + apply(q["f2"], jax.nn.gelu(apply(q["f1"], layer_norm(h, q["l2"])), approximate=False))
        return cross_entropy((layer_norm(h, p["ln"]) @ p["o"]).reshape(-1, 65), y), a
    return Trainer(loss, p, adam(LR, 1e-2), I(65, 12, 64), I(65, 768))

def infer_mlp_b1():
    p = [linear(784, 200), linear(200, 10)]
    return Op(lambda p, x: jax.nn.softmax(apply(p[1], jax.nn.relu(apply(p[0], x)))), p, R(1, 784))

def op_matmul_512(): return Op(jnp.matmul, R(512, 512), R(512, 512))
def op_softmax_1024(): return Op(lambda x: jax.nn.softmax(x, 1), R(1024, 1024))
def op_exp_1m(): return Op(jnp.exp, R(1 << 20))
def op_add_16(): return Op(jnp.add, R(16), R(16))

ALL = {f.__name__: f for f in (mlp_seed, mlp_wide, xor_tiny, conv_mnist, resnet20, char_lstm, char_gpt, infer_mlp_b1, op_matmul_512, op_softmax_1024, op_exp_1m, op_add_16)}


if __name__ == "__main__":
    measuring.run(a, ALL, lambda name: ALL[name](), "jax-" + jax.__version__)
