"""Waiting for one another in a closed loop."""

from __future__ import annotations


def wait_seconds(own_s: float, requests: int, total_s: float) -> float:
    """Waiting for the prompts of others in a closed loop, whose requests come back after they have decoded.

    Mean value analysis: who comes finds what the loop of one request fewer has waiting, and the rest of the prompt
    that is being read, half of it since equal ones take equal time.
    Source: Reiser, Lavenberg, "Mean-Value Analysis of Closed Multichain Queuing Networks", J. ACM 27(2), 1980.
    """
    queue = busy = wait_s = 0.0
    for number in range(1, requests + 1):
        wait_s = own_s * max(queue - busy, 0.0) + own_s * busy / 2
        rate = number / (wait_s + own_s + total_s)
        queue, busy = rate * (wait_s + own_s), min(rate * own_s, 1.0)
    return wait_s
