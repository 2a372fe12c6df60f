"""PyTorch's side of bench/functions.lua, which has the table: a line "NAME<tab>EXPRESSION<tab>OPERANDS<tab>SECONDS" on the standard input is answered
by a JSON line, the median in microseconds or, for 0 seconds, sums over the results.

OPERANDS are "NAME=KIND DTYPE SIZE SEED ..." with ";" between them; made() gives them the numbers that functions.lua does.
"""
import json, math, os, sys
import measuring
a = measuring.arguments(0.05).parse_args()
for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[k] = str(a.threads)
import torch, torch.nn as nn, torch.nn.functional as F
torch.set_num_threads(a.threads)
BITS = 22
seeds, specs = {}, {}


def draw(n, seed, which):
    h = (torch.arange(n) + (4 * seed + which + 1) * 1000003) * 2654435761 % (1 << 31)
    return h * h // (1 << 19) % (1 << BITS)


def made(kind, dtype, size, seed, most=None):
    shape = [int(d) for d in size.split("x")]
    n, seed, most = math.prod(shape), int(seed), int(most or 0)
    v = draw(n, seed, 0)
    if kind == "normal":
        v = (v + draw(n, seed, 1) + draw(n, seed, 2) + draw(n, seed, 3) - (2 << BITS)).double() * 2.0 ** (1 - BITS)
    elif kind == "uniform":
        v = v.double() * 2.0 ** -BITS
    elif kind == "positive":
        v = (v + 1).double() * 2.0 ** -BITS
    elif kind == "open":
        v = (2 * v + 1 - (1 << BITS)).double() * 2.0 ** -BITS
    elif kind == "halves":
        v = (v % 256).double() * 0.5
    elif kind == "signed":
        v = v % (2 * most + 1) - most
    elif kind in ("below", "position"):
        v = v % most
    elif kind == "ordered":
        v = torch.arange(n).double() / n
    else:
        raise ValueError("no kind of operand " + kind)
    return v.to(getattr(torch, dtype)).reshape(shape)


def back(y, *xs):
    """Gradients of y with respect to the xs, from a seed that stays the same."""
    n = y.numel()
    if n > 1 and y.shape not in seeds:
        seeds[y.shape] = made("normal", "float32", str(n), "99").reshape(y.shape)
    return torch.autograd.grad(y, xs, seeds[y.shape] if n > 1 else None)


def nothing(*_):
    return None


names = {"torch": torch, "nn": nn, "F": F, "math": math, "back": back, "nothing": nothing, "tensor": torch.tensor}


def results(y):
    return [t for t in (y if isinstance(y, (tuple, list)) else [y]) if isinstance(t, torch.Tensor)]


def sums(t):
    y = t.detach().double().flatten()
    finite = torch.isfinite(y)
    odd = [int(torch.isnan(y).sum()), int((y == math.inf).sum()), int((y == -math.inf).sum())]
    y = torch.where(finite, y, 0.0) * ((torch.arange(y.numel()) % 101 + 27).double() / 64)
    return {"shape": "x".join(map(str, t.shape)), "dtype": str(t.dtype)[6:], "odd": odd, "size": y.abs().sum().item(), "sum": y.sum().item()}


def answer(expression, operands, seconds):
    for text in filter(None, operands.split(";")):
        name, _, spec = text.partition("=")
        if specs.get(name) != spec:
            words = spec.split()
            grad = words[-1] == "grad"
            names[name], specs[name] = made(*words[:len(words) - grad]).requires_grad_(grad), spec
    step = eval("lambda: " + expression, names)
    with torch.set_grad_enabled("back(" in expression):
        return measuring.measure(step, seconds) if seconds > 0 else {"results": [sums(t) for t in results(step())]}


for line in sys.stdin:
    parts = line.rstrip("\n").split("\t")
    if len(parts) != 4:
        break
    try:
        r = answer(parts[1], parts[2], float(parts[3]))
    except Exception as e:
        r = {"error": repr(e)[:200]}
    print(json.dumps({"system": f"torch-{torch.__version__}", **r}), flush=True)
