"""An engine's queue, event by event: requests are taken in, read, decoded together, preempted and finished."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from math import ceil

import numpy as np

from simulator.errors import InputError
from simulator.serving.arrivals import Requests
from simulator.serving.blocks import Growing
from simulator.serving.costs import StepCosts
from simulator.serving.queued import Rules, Served


@dataclass
class _State:
    """A queue in the making."""

    now: float = 0.0
    step: float = 0.0
    arrived: int = 0
    waiting: deque[int] = field(default_factory=deque)
    reading: deque[list[int]] = field(default_factory=deque)
    held: int = 0
    promised: int = 0
    fixed: int = 0
    since: int = 0
    waited: int = 0
    ends: list[tuple[float, int]] = field(default_factory=list)
    bases: dict[int, int] = field(default_factory=dict)
    finish: dict[int, float] = field(default_factory=dict)
    moments: list[tuple[float, int, int, int]] = field(default_factory=list)
    preempted: int = 0


class _Queue:
    def __init__(self, requests: Requests, costs: StepCosts, rules: Rules) -> None:
        self.costs, self.rules, self.state = costs, rules, _State()
        self.growing = Growing(rules.block or 1)
        self.requests = requests
        self.arrival: list[float] = requests.arrival_s.tolist()
        self.prompt: list[int] = requests.prompt.tolist()
        self.left: list[int] = requests.output.tolist()
        self.first, self.end = np.zeros((2, len(requests)))
        self.blocks = rules.blocks - self._blocks(rules.shared)
        self.fixed: list[int] = rules.fixed(requests.prompt + requests.output).tolist()
        own = np.maximum(requests.prompt - rules.shared, 0) + requests.output
        self.whole: list[int] = (rules.grown(own) + self.fixed).tolist()

    def run(self) -> None:
        """Until all requests have ended."""
        state, number = self.state, len(self.arrival)
        while state.arrived < number or state.waiting or state.reading or state.bases:
            if not state.bases or state.since >= self.rules.interval:
                self._arrive()
            self._take_in()
            state.moments.append((state.now, len(state.waiting), len(state.bases) + len(state.reading), self._used()))
            if state.reading and not self._gathers():
                self._read()
            elif state.bases:
                self._decode()
            else:
                state.now = self.arrival[state.arrived]

    def _gathers(self) -> bool:
        """Whether the prompts that are to be read wait for others."""
        state = self.state
        if not state.bases or state.waited >= self.rules.gather:
            return False
        return sum(self.prompt[index] - past for index, past in state.reading) < self.rules.tokens

    def _arrive(self) -> None:
        state = self.state
        state.since = 0
        while state.arrived < len(self.arrival) and self.arrival[state.arrived] <= state.now:
            state.waiting.append(state.arrived)
            state.arrived += 1

    def _used(self) -> int:
        return self._held(self.state.step)

    def _held(self, step: float) -> int:
        """Blocks of all requests after so many steps."""
        growing = self.growing.blocks(step) if self.rules.block else 0
        return self.state.held + growing + self.state.fixed

    def _blocks(self, tokens: int) -> int:
        """Blocks that so many tokens take."""
        return ceil(tokens / self.rules.block) if self.rules.block else 0

    def _need(self, index: int) -> int:
        """Blocks of a prompt and its first token, beside what all share."""
        return self.fixed[index] + self._blocks(max(self.prompt[index] - self.rules.shared, 0) + 1)

    def _take_in(self) -> None:
        state, used = self.state, self._used()
        while state.waiting and len(state.reading) + len(state.bases) < self.rules.requests:
            index = state.waiting[0]
            need = self._need(index)
            # The running ones keep a block each to grow into.
            room = len(state.bases) if self.rules.block else 0
            full = state.promised + self.whole[index] if self.rules.reserves else used + need + room
            if full > self.blocks and (state.bases or state.reading):
                return
            state.waiting.popleft()
            state.promised += self.whole[index]
            used += need
            state.held += need
            past = min(self.rules.shared, self.prompt[index] - 1)
            state.reading.append([index, past if self.rules.read else self.prompt[index]])

    def _read(self) -> None:
        """One step that reads prompts, beside those that decode if the engine mixes them."""
        state, chunked = self.state, self.rules.chunked
        decoding = self.growing.number if chunked else 0
        budget = max(self.rules.tokens - decoding, 1)
        pieces: list[tuple[int, int]] = []
        done: list[list[int]] = []
        for entry in state.reading:
            index, past = entry
            new = self.prompt[index] - past
            if new > budget and (not chunked and pieces):
                break
            new = min(new, budget) if chunked else new
            if new:
                pieces.append((new, past))
            entry[1] += new
            budget -= new
            if entry[1] < self.prompt[index] or budget <= 0:
                done += [entry] * (entry[1] == self.prompt[index])
                break
            done.append(entry)
        if pieces:
            state.now += self.costs.mixed(decoding, self._context(), pieces)
            if decoding:
                state.step += self.costs.tokens
        for entry in done:
            state.reading.remove(entry)
            self._begin(entry[0])
        # The host looks for requests after each step that reads; a prompt that is read in part waits for none.
        state.since, state.waited = self.rules.interval, self.rules.gather if state.reading else 0
        self._finish()
        self._make_room()

    def _context(self) -> float:
        return self.growing.tokens(self.state.step) / max(self.growing.number, 1) + self.rules.shared

    def _begin(self, index: int) -> None:
        """The first token comes with the prompt; from now on it decodes."""
        state = self.state
        state.held -= self._need(index)
        if not self.first[index]:
            self.first[index] = state.now
        self.left[index] -= 1
        base = max(self.prompt[index] - self.rules.shared, 0) + 1 - int(state.step)
        self.prompt[index] += 1
        state.bases[index] = base
        state.fixed += self.fixed[index]
        self.growing.add(base)
        state.finish[index] = state.step + self.left[index]
        heapq.heappush(state.ends, (state.finish[index], index))

    def _finish(self) -> None:
        state = self.state
        while state.ends and state.ends[0][0] <= state.step + 1e-9:
            finish, index = heapq.heappop(state.ends)
            if state.finish.get(index) == finish and index in state.bases:
                self._leave(index)
                del state.finish[index]
                self.left[index] = 0
                self.end[index] = state.now

    def _leave(self, index: int) -> None:
        """A request gives back its blocks."""
        self.growing.remove(self.state.bases.pop(index))
        self.state.promised -= self.whole[index]
        self.state.fixed -= self.fixed[index]

    def _decode(self) -> None:
        """As many equal steps as pass until something else happens."""
        state, each = self.state, self.costs.tokens
        while state.ends[0][1] not in state.bases or state.finish[state.ends[0][1]] != state.ends[0][0]:
            heapq.heappop(state.ends)
        steps = max(ceil((state.ends[0][0] - state.step) / each - 1e-9), 1)
        requests = self.growing.number
        seconds = self.costs.decoding(requests, self._context())
        room = requests + len(state.reading) < self.rules.requests
        if state.arrived < len(self.arrival) and room:
            steps = min(steps, self._until_seen(self.arrival[state.arrived] - state.now, seconds))
        if state.reading:
            steps = min(steps, self.rules.gather - state.waited)
        steps = self._steps_that_fit(steps)
        middle = self._context() + (steps - 1) * each / 2
        state.now += steps * self.costs.decoding(requests, middle)
        state.step += steps * each
        state.since += steps
        state.waited += steps if state.reading else 0
        self._finish()
        self._make_room()

    def _until_seen(self, away_s: float, step_s: float) -> int:
        """Steps until the engine looks for requests and finds one that comes then."""
        since, interval = self.state.since, self.rules.interval
        return max(ceil((since + away_s / step_s) / interval), since // interval + 1) * interval - since

    def _steps_that_fit(self, steps: int) -> int:
        """Steps, of at most so many, before a block is wanting."""
        if self._fits(steps):
            return steps
        low, high = 1, steps - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._fits(middle) else (low, middle - 1)
        return low

    def _fits(self, steps: int) -> bool:
        return self._held(self.state.step + steps * self.costs.tokens) <= self.blocks

    def _make_room(self) -> None:
        """Put the last comers back until each of the others has room for the next step."""
        state = self.state
        after = state.step + self.costs.tokens
        while len(state.bases) > 1 and self._held(after) > self.blocks:
            index = next(reversed(state.bases))
            self._leave(index)
            made = self.left[index] - ceil(state.finish.pop(index) - state.step)
            self.left[index] -= made
            self.prompt[index] += made
            state.waiting.appendleft(index)
            state.preempted += 1


def _refuse_longer(requests: Requests, rules: Rules) -> None:
    """Refuse requests that never fit; of layers that keep all tokens, one block stays to grow into."""
    length = requests.prompt + requests.output
    fixed = rules.fixed(length)
    beyond = fixed + rules.grown(length) + (1 if rules.block else 0) > rules.blocks
    if not beyond.any():
        return
    longest = int(length[beyond].max())
    room = max(rules.blocks - 1 - int(fixed[beyond].max()), 0) * (rules.block or 0)
    raise InputError(f"a request of {longest} tokens is longer than the cache's {room}; drop it or take more devices")


def run_queue(requests: Requests, costs: StepCosts, rules: Rules) -> Served:
    """What becomes of requests that arrive over time.

    Notes
    -----
    First come, first served; a request that finds no block is put back and read again with what it had made, as vLLM
    does it. Source: Kwon et al., "PagedAttention", SOSP 2023, arXiv 2309.06180, section 4.5; Agrawal et al.,
    "Sarathi-Serve", OSDI 2024, arXiv 2403.02310, section 4.2 (pieces of prompts).

    Raises
    ------
    InputError
        If one of the requests is longer than the cache; it says how long one may be.
    """
    _refuse_longer(requests, rules)
    queue = _Queue(requests, costs, rules)
    queue.run()
    state = queue.state
    moment, waiting, running, cached = np.array(state.moments, dtype=float).T
    made = int(requests.output.sum()) - sum(queue.left)
    return Served(requests, queue.first, queue.end, moment, waiting, running, cached, state.preempted, made)
