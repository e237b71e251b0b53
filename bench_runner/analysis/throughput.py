"""How fast a stage was served: counted while the whole load was there, filling up and draining left out (pure).

Closed loop: from when every lane had its own first token. Open loop: requests end as often as they arrive only once the
first ones had time to end, so counting begins one answer's length after the schedule did: the longest of the stage, or,
where that is more than half of it (a server that falls behind makes every answer longer than the one before), the
longest of those that ended in its first half. It ends with the last send.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenmark_schemas.result import StageThroughput
from tokenmark_schemas.workload import Stage

from ..load.clock import NS
from ..samples.aggregate import Collected

LEAST_SHARE = 5  # a steady part shorter than a fifth of the window is none


def steady_window(part: Collected, stage: Stage) -> tuple[int, int] | None:
    """(start, end) in monotonic nanoseconds, whole bins; None where that is no fifth of the window."""
    if not part.windows or not part.flow.ended:
        return None
    begun, until = part.windows[-1].start_ns, part.windows[-1].steady_until_ns
    start = _lanes_full(part, begun) if stage.concurrency else _first_answers_over(part, begun, until)
    width = part.flow.tokens.width_ns
    start, end = -(-start // width) * width, until // width * width
    return (start, end) if end - start > (end - begun) // LEAST_SHARE else None


def _lanes_full(part: Collected, begun: int) -> int:
    """Where a lane's own first request failed, as many first tokens as there are lanes stand for it."""
    flow, lanes = part.flow, min(part.lanes, part.outcomes.due)
    full = max(flow.lane_firsts.values(), default=begun)
    if len(flow.lane_firsts) >= lanes or not flow.first_tokens:
        return full
    return max(full, sorted(flow.first_tokens)[min(lanes, len(flow.first_tokens)) - 1])


def _first_answers_over(part: Collected, begun: int, until: int) -> int:
    flow, middle = part.flow, (begun + until) // 2
    longest = max(end - due for due, end in zip(flow.begun, flow.ended, strict=True))
    if begun + longest > middle:
        early = (end - due for due, end in zip(flow.begun, flow.ended, strict=True) if end <= middle)
        longest = max(early, default=longest)
    return begun + longest


def throughput_of(stage: Stage, parts: Sequence[Collected]) -> StageThroughput:
    """Over the steady windows of all repetitions, and over the whole of them beside it."""
    steady_ns, tokens, requests = 0, 0.0, 0
    for part in parts:
        window = steady_window(part, stage)
        if window is None:
            continue
        steady_ns += window[1] - window[0]
        tokens += part.flow.tokens.between(*window)
        requests += sum(1 for end in part.flow.ended if window[0] <= end < window[1])
    whole_s = sum(_whole_ns(part) for part in parts) / NS
    prompt, output = (sum(getattr(p.tokens, name) or 0 for p in parts) for name in ("prompt", "output"))
    done = sum(part.outcomes.succeeded for part in parts)
    good = sum(part.outcomes.good_tokens for part in parts) if any(part.limits for part in parts) else None
    told = any(part.tokens.sources for part in parts)  # a database's answers are no tokens
    rate = tokens / (steady_ns / NS) if steady_ns and told else None
    return StageThroughput(
        requests_per_s=requests / (steady_ns / NS) if steady_ns else None,
        output_tokens_per_s=rate,
        total_tokens_per_s=rate * (1 + prompt / output) if rate is not None and output and prompt else None,
        good_output_tokens_per_s=rate * good / output if rate is not None and good is not None and output else None,
        requests_per_s_whole=done / whole_s if whole_s else 0.0,
        output_tokens_per_s_whole=(output / whole_s if whole_s else 0.0) if told else None,
    )


def _whole_ns(part: Collected) -> int:
    """From its start to the last end."""
    if not part.windows:
        return 0
    return max(part.last_end_ns, part.windows[-1].stop_ns) - part.windows[0].start_ns
