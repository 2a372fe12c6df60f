"""The one way in which the rivals' sides are measured, as lua/slugnet/bench.lua measures ours."""
import argparse, gc, json, sys, time


def arguments(seconds):
    """The options that every side has; seconds for each workload if nothing is said."""
    ap = argparse.ArgumentParser()
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--seconds", type=float, default=seconds)
    ap.add_argument("--serve", action="store_true")
    ap.add_argument("names", nargs="*")
    return ap


def measure(step, seconds, done=lambda: None):
    """Median and least microseconds of a call of step(); done() waits for what it left under way."""
    for _ in range(3):
        step()
    done()
    t0 = time.perf_counter(); step(); done(); once = time.perf_counter() - t0
    inner = max(1, min(1000, int(min(0.02, seconds / 5) / max(once, 1e-7))))
    ts, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(ts) < 5:
        t0 = time.perf_counter()
        for _ in range(inner):
            step()
        done()
        ts.append((time.perf_counter() - t0) / inner)
    ts.sort()
    return {"median_us": round(ts[len(ts) // 2] * 1e6, 2), "min_us": round(ts[0] * 1e6, 2), "n": len(ts) * inner}


def run(a, names, make, system, **about):
    """A side's whole run: one JSON line for each workload that is named (all of them if none is), or, with --serve, for each line
    "WORKLOAD SECONDS" on the standard input. make(name) gives a step; what it has as `done` waits for what it left under way."""
    last = step = None

    def report(name, seconds):
        nonlocal last, step
        try:
            if name != last:
                last = step = None
                gc.collect()
                step, last = make(name), name
            r = measure(step, seconds, getattr(step, "done", lambda: None))
        except Exception as e:
            r = {"error": repr(e)[:200]}
        print(json.dumps({"workload": name, "system": system, **about, "threads": a.threads, **r}), flush=True)

    if not a.serve:
        for name in a.names or names:
            report(name, a.seconds)
        return
    for line in sys.stdin:
        name, _, seconds = line.strip().partition(" ")
        if not seconds:
            break
        report(name, float(seconds))
