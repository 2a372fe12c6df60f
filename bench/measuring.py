"""The one way in which the rivals' sides are measured, as lua/slugnet/bench.lua measures ours."""
import time


def measure(step, seconds, done=lambda: None):
    """Median and least microseconds of a call of step(); done() waits for what it left under way."""
    for _ in range(3):
        step()
    done()
    t0 = time.perf_counter(); step(); done(); once = time.perf_counter() - t0
    inner = max(1, min(1000, int(0.02 / max(once, 1e-7))))
    ts, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(ts) < 5:
        t0 = time.perf_counter()
        for _ in range(inner):
            step()
        done()
        ts.append((time.perf_counter() - t0) / inner)
    ts.sort()
    return {"median_us": round(ts[len(ts) // 2] * 1e6, 2), "min_us": round(ts[0] * 1e6, 2), "n": len(ts) * inner}
