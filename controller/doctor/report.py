"""The findings as a table for people and as JSON for programs."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from serl_rt.controller.doctor.finding import Finding, Status

_MARKS = {Status.OK: "ok", Status.WARN: "WARN", Status.FAIL: "FAIL", Status.UNKNOWN: "?"}


def exit_status(findings: Sequence[Finding]) -> int:
    """Return 1 if anything failed, else 0."""
    return int(any(finding.status is Status.FAIL for finding in findings))


def table(findings: Sequence[Finding], histogram: Mapping[str, int]) -> str:
    """Return the text report: a row for each finding, what is wanted and what mends it below."""
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    topic = ""
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            lines += [*([""] if lines else []), topic]
        lines.append(f"  {_MARKS[finding.status]:<4}  {finding.name:<{width}}  {finding.value}")
        indent = " " * (width + 10)
        if finding.status is not Status.OK:
            if finding.wanted:
                lines.append(f"{indent}wanted: {finding.wanted}")
            if finding.remedy:
                lines.append(f"{indent}mend:   {finding.remedy}")
        if finding.topic == "wakeup" and finding.name == "latency":
            lines += [f"{indent}{bar}" for bar in bars(histogram)]
    counts = Counter(finding.status for finding in findings)
    summary = ", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status])
    return "\n".join([*lines, "", summary])


def bars(histogram: Mapping[str, int]) -> list[str]:
    """Return a line for each range, with a bar as long as its share of the most frequent one."""
    most = max([1, *histogram.values()])
    return [
        f"{name:>10} {count:>7}  {'#' * round(40 * count / most)}".rstrip()
        for name, count in histogram.items()
    ]


def as_json(findings: Sequence[Finding], histogram: Mapping[str, int]) -> str:
    """Return {"exit_status", "findings": [{topic, name, status, value, wanted, remedy}, ...],
    "wakeup_histogram": {range: wake-ups, ...}}."""
    document = {
        "exit_status": exit_status(findings),
        "findings": [asdict(finding) for finding in findings],
        "wakeup_histogram": dict(histogram),
    }
    return json.dumps(document, indent=2)
