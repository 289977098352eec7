"""How late a thread like the control thread wakes up, measured."""

from serl_rt.controller.doctor.finding import Finding, Status

EDGES_US = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Rows of the histogram [us]."""
_WELL_US = 200.0
_BAD_US = 1000.0
_REMEDY = "see kernel, limits and cpu above; end other programs; give the thread an isolated core"


def measure(seconds: float, priority: int, cpu: int) -> tuple[list[Finding], dict[str, int]]:
    """Return the findings of a measurement and its histogram: range of latency -> wake-ups."""
    try:
        from serl_rt.controller._core import measure_wakeup
    except ModuleNotFoundError:
        value = "this installation has no controller (SERL_RT_CONTROLLER=OFF)"
        return [Finding("wakeup", "latency", Status.UNKNOWN, value)], {}
    result = measure_wakeup(seconds, priority, cpu, [1000 * edge for edge in EDGES_US])
    finding = judge(result["p50"], result["p99"], result["p999"], result["max"], result["count"])
    refused = [
        Finding("wakeup", "set-up", Status.WARN, what, "granted", how)
        for what, _, how in (sentence.partition("; ") for sentence in result["not_granted"])
    ]
    return [finding, *refused], histogram(result["count"], result["above"])


def judge(p50: int, p99: int, p999: int, longest: int, count: int) -> Finding:
    """Judge latencies [ns] of `count` wake-ups: a lost cycle now and then is survived, many not."""
    wanted = f"p99.9 at most {_WELL_US:.0f} us of the millisecond"
    value = (
        f"p50 {p50 / 1e3:.0f}, p99 {p99 / 1e3:.0f}, p99.9 {p999 / 1e3:.0f}, "
        f"max {longest / 1e3:.0f} us in {count} wake-ups"
    )
    if p999 / 1e3 <= _WELL_US:
        return Finding("wakeup", "latency", Status.OK, value, wanted)
    status = Status.WARN if p999 / 1e3 <= _BAD_US else Status.FAIL
    return Finding("wakeup", "latency", status, value, wanted, _REMEDY)


def histogram(count: int, above: list[int]) -> dict[str, int]:
    """Return how many wake-ups lie in each range. `above`: how many are longer than each edge."""
    left = [count, *above]
    counts = [left[i] - left[i + 1] for i in range(len(above))] + [left[-1]]
    names = [f"<= {edge} us" for edge in EDGES_US] + [f"> {EDGES_US[-1]} us"]
    return dict(zip(names, counts, strict=True))
