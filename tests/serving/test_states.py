"""Served models whose layers keep a state of fixed size: cache, decoding, prompts, queue, devices that share heads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import load_device, load_workload
from simulator.errors import InputError, OutOfMemoryError, UnsupportedError
from simulator.op.base import Site
from simulator.op.kernel import Role
from simulator.op.selective_scan import SelectiveScan
from simulator.op.state_space import StateSpace
from simulator.parallel.shard import shard
from simulator.report.serving import serving_summary
from simulator.serving.answer import Service, deploy, serve
from simulator.serving.arrivals import Requests
from simulator.serving.cache import capacity, request_bytes, token_bytes
from simulator.serving.costs import StepCosts, Surface, costs_of
from simulator.serving.formats import get_format
from simulator.serving.network import Generator
from simulator.serving.queued import Rules
from simulator.serving.scheduler import run_queue
from simulator.serving.states import reading_columns, state_bytes, stepping_columns
from simulator.serving.static import RequestLengths
from simulator.serving.step import Deployment, decoding, reading, step_times
from simulator.serving.traffic import Traffic, at_rate, line_of
from simulator.workload.workload import Workload

MAMBA = {"model_type": "mamba2", "hidden_size": 2560, "num_hidden_layers": 64, "vocab_size": 50288, "num_heads": 80,
         "head_dim": 64, "state_size": 128, "n_groups": 1, "tie_word_embeddings": True}  # fmt: skip
NEXT = {"model_type": "qwen3_next", "hidden_size": 2048, "num_hidden_layers": 48, "vocab_size": 151936}
BAMBA = {"model_type": "bamba", "hidden_size": 4096, "num_hidden_layers": 32, "vocab_size": 128256,
         "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "mamba_n_heads": 128,
         "mamba_d_state": 128, "attn_layer_indices": [9, 18, 27]}  # fmt: skip
SELECTIVE = {"model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64, "vocab_size": 50280}
JAMBA = {"model_type": "jamba"}
H1 = {"model_type": "falcon_h1", "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 36,
      "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "mamba_d_ssm": 1536, "mamba_n_heads": 24,
      "mamba_d_head": 64, "mamba_n_groups": 1, "mamba_d_state": 128, "vocab_size": 32784}  # fmt: skip
STATE = 64 * (5120 * 128 + 3 * 5376)
"""Numbers of a request's state in Mamba 2 of 2.7 B: heads' states, and three inputs of each convolution's channel."""


@pytest.fixture(scope="module", name="made")
def made_of_configurations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workload]:
    result = {}
    for values in (MAMBA, NEXT, BAMBA, SELECTIVE, JAMBA, H1):
        folder = tmp_path_factory.mktemp(str(values["model_type"]))
        (folder / "config.json").write_text(json.dumps(values))
        result[str(values["model_type"])] = load_workload(f"hf:{folder}")
    return result


def deployed(workload: Workload, devices: int = 1, **fields: object) -> Deployment:
    return deploy(workload, load_device("h100"), Service(devices=devices, **fields))  # type: ignore[arg-type]


class TestStatesAlone:
    def test_a_request_takes_as_much_whatever_its_length(self, made: dict[str, Workload]) -> None:
        deployment = deployed(made["mamba2"])
        assert token_bytes(deployment) == 0
        assert request_bytes(deployment, 1) == request_bytes(deployment, 10**6) == 2 * STATE
        room = capacity(deployment)
        assert (room.tokens, room.state_bytes) == (0, 2 * STATE)
        assert room.requests(5) == room.requests(10**6) == pytest.approx(room.cache_bytes / (2 * STATE))

    def test_the_cache_s_format_does_not_narrow_states(self, made: dict[str, Workload]) -> None:
        assert request_bytes(deployed(made["mamba2"], cache="fp8"), 100) == 2 * STATE

    @given(st.integers(1, 256), st.integers(1, 10**6))
    @settings(max_examples=25, deadline=None)
    def test_decoding_does_not_grow_with_context(self, made: dict[str, Workload], requests: int, context: int) -> None:
        times = step_times(deployed(made["mamba2"]), decoding(np.array([requests] * 2), np.array([1, context])))
        assert times.time_s[0] == times.time_s[1]
        assert times.traffic_bytes[0] == times.traffic_bytes[1]

    def test_each_state_is_read_and_written_once(self, made: dict[str, Workload]) -> None:
        deployment = deployed(made["mamba2"])
        few, many = step_times(deployment, decoding(np.array([8, 9]), 100)).traffic_bytes
        columns = [
            column
            for mixer in deployment.generator.mixing
            for column in stepping_columns(mixer, np.ones(1), deployment.form)
        ]
        moved = 2 * sum(float((c.read + c.write)[Role.ACTIVATION].sum()) for c in columns)
        assert 2 * 2 * STATE <= moved <= 1.03 * 2 * 2 * STATE
        assert moved <= many - few <= 1.05 * moved

    def test_prompts_are_read_in_proportion(self, made: dict[str, Workload]) -> None:
        """No square of the prompt: whole chunks cost alike, and past tokens cost nothing."""
        deployment = deployed(made["mamba2"])
        times = step_times(deployment, reading(1, np.array([4096, 8192, 8192]), np.array([0, 0, 10**6])))
        assert times.cache_s[1] == pytest.approx(2 * times.cache_s[0], rel=0.02)
        assert times.cache_s[2] == times.cache_s[1]

    def test_kernels_of_a_prompt_are_those_of_the_operation(self) -> None:
        op, form = StateSpace(heads=8, size=16, state=16, groups=2, chunk=64), get_format("bf16")
        columns = reading_columns(op, np.array([3.0]), np.array([200.0]), form)
        kernels = op.forward(op_site(op, 200))
        assert [float(c.flops.sum()) for c in columns] == pytest.approx(
            [3 * kernel.flops.per_sample for kernel in kernels]
        )
        assert [int(c.engine[0]) for c in columns] == [int(kernel.engine) for kernel in kernels]

    def test_the_answer_says_so(self, made: dict[str, Workload]) -> None:
        answer = serve(
            made["mamba2"], load_device("h100"), Service(request=RequestLengths(1000, 100), concurrency=(1, 4))
        )
        memory = serving_summary(answer)["memory"]
        assert (memory["token_bytes"], memory["state_bytes"]) == (0, 2 * STATE)
        assert answer.points[1].cache_bytes == 4 * 2 * STATE

    def test_a_device_without_room_for_a_state_is_refused(self, made: dict[str, Workload]) -> None:
        with pytest.raises(OutOfMemoryError, match="try --devices"):
            serve(made["bamba"], load_device("t4"), Service(precision="fp16"))


def op_site(op: StateSpace, positions: int) -> Site:
    shapes = ((positions, op.columns(0)),)
    return Site(shapes, op.output_shape(shapes), training=False)


class TestHybrids:
    @pytest.mark.parametrize(
        ("kind", "layers", "token", "state"),
        [
            # 12 layers of attention with 2 heads of 256, keys and values; 36 of 32 heads of 128 by 128, and of 8192
            # convolved channels.
            ("qwen3_next", 12, 2 * 2 * 256, 36 * (4096 * 128 + 3 * 8192)),
            # 3 of 8 heads of 128; 29 of 128 heads of 64 by 128, and of 8192 + 2 x 128 channels.
            ("bamba", 3, 2 * 8 * 128, 29 * (8192 * 128 + 3 * 8448)),
            # 4 of 8 heads of 128; 28 of 8192 channels with 16 numbers and three inputs each.
            ("jamba", 4, 2 * 8 * 128, 28 * 8192 * (16 + 3)),
            # All 36 have 2 heads of 64 beside 24 of 64 by 128, and 1536 + 2 x 128 channels.
            ("falcon_h1", 36, 2 * 2 * 64, 36 * (1536 * 128 + 3 * 1792)),
        ],
    )
    def test_the_cache_is_the_sum(
        self, made: dict[str, Workload], kind: str, layers: int, token: int, state: int
    ) -> None:
        stages = 4 if kind in ("qwen3_next", "jamba") else 1
        deployment = deployed(made[kind], stages, stages=stages)
        assert token_bytes(deployment) == 2 * layers * token / deployment.stages
        assert state_bytes(deployment.generator, deployment.form) == 2 * state
        for length in (1, 1000, 50_000):
            whole = request_bytes(deployment, length)
            assert whole == pytest.approx(2 * (layers * token * length + state) / deployment.stages)

    def test_a_selection_is_summed_once(self, made: dict[str, Workload]) -> None:
        """A scan's steps, B and C are sums over the channels of all devices, taken once; then the layer's output."""
        one, two = (deployed(made["mamba"], ways).generator for ways in (1, 2))
        assert (one.reductions, two.reductions) == (0, 2 * 64)
        assert {mixer.heads for mixer in two.mixing} == {2560}
        assert 0.5 < weights_of(two) / weights_of(one) < 0.53

    def test_attention_alone_grows_with_context(self, made: dict[str, Workload]) -> None:
        deployment = deployed(made["bamba"])
        times = step_times(deployment, decoding(64, np.array([1_000, 100_000])))
        # 99,000 tokens more of 64 requests, 3 layers of 2 x 8 x 128 numbers of 2 bytes.
        assert np.diff(times.traffic_bytes)[0] == pytest.approx(64 * 99_000 * 3 * 2048 * 2, rel=1e-6)

    def test_devices_share_heads(self, made: dict[str, Workload]) -> None:
        one, two = (deployed(made["qwen3_next"], ways) for ways in (4, 8))
        assert state_bytes(two.generator, two.form) == state_bytes(one.generator, one.form) / 2
        assert two.generator.reductions == one.generator.reductions
        assert two.work.weight_bytes < 0.55 * one.work.weight_bytes
        with pytest.raises(InputError, match="16 heads do not divide over 3 devices"):
            _ = deployed(made["qwen3_next"], 3).generator


def weights_of(generator: Generator) -> int:
    return sum(layer.parameters for layer in generator.layers)


def constant(value: float) -> Surface:
    return Surface([0.0, 1.0], [0.0, 1.0], [[value, value], [value, value]])


PLAIN = StepCosts(constant(1.0), constant(0.0), constant(1.0), constant(0.0), 0.0, 1.0)


class TestQueue:
    def test_states_bound_how_many_run(self) -> None:
        # Room for two states: the third of three equal requests waits for the first two, whatever their tokens.
        requests = Requests(np.zeros(3), np.array([10**6, 10**6, 5]), np.array([4, 4, 4]))
        served = run_queue(requests, PLAIN, Rules(blocks=2, block=None, tokens=10**7, requests=256, state=1))
        assert served.running.max() == served.cached.max() == 2
        assert served.first_s[2] == served.end_s[:2].max() + 1
        assert served.preempted == 0

    def test_states_and_tokens_share_the_blocks(self) -> None:
        # Nine blocks of 16 tokens; a request of 17 tokens takes two, and three for its state: one fits, not two.
        requests = Requests(np.zeros(2), np.array([16, 16]), np.array([2, 2]))
        rules = Rules(blocks=9, block=16, tokens=8192, requests=256, state=3)
        assert run_queue(requests, PLAIN, rules).running.max() == 1
        wider = Rules(blocks=11, block=16, tokens=8192, requests=256, state=3)
        assert run_queue(requests, PLAIN, wider).running.max() == 2
        long = Requests(np.zeros(1), np.array([90]), np.array([2]))
        with pytest.raises(InputError, match="longer than the cache's 80"):
            run_queue(long, PLAIN, rules)

    @given(st.lists(st.tuples(st.integers(1, 200), st.integers(1, 60)), min_size=1, max_size=12), st.integers(0, 4))
    @settings(max_examples=50, deadline=None)
    def test_never_overfull_and_nothing_lost(self, lengths: list[tuple[int, int]], state: int) -> None:
        prompt, output = (np.array(side) for side in zip(*lengths, strict=True))
        requests = Requests(np.arange(len(lengths), dtype=float), prompt, output)
        served = run_queue(requests, PLAIN, Rules(blocks=30, block=16, tokens=512, requests=8, state=state))
        assert served.cached.max() <= 30
        assert served.tokens == output.sum()

    @pytest.mark.parametrize("kind", ["mamba2", "bamba"])
    def test_a_deployment_s_queue(self, made: dict[str, Workload], kind: str) -> None:
        deployment = deployed(made[kind])
        line = line_of(deployment, Traffic(number=40))
        assert (line.rules.block is None) == (kind == "mamba2")
        room = capacity(deployment)
        taken = line.rules.state * (room.state_bytes if kind == "mamba2" else room.token_bytes * room.block)
        assert taken >= room.state_bytes > taken * 0.9
        served = at_rate(line, 4.0)
        assert served.tokens == served.requests.output.sum()
        assert served.cached.max() <= line.rules.blocks

    def test_tables_of_steps_do_not_grow_with_context(self, made: dict[str, Workload]) -> None:
        costs = costs_of(deployed(made["mamba2"]))
        assert costs.decoding(16, 10) == costs.decoding(16, 10**6)


class TestTraining:
    def test_ranks_share_heads(self, made: dict[str, Workload]) -> None:
        half = shard(made["mamba2"], 2, 1, 1, sequence=False)
        op = next(layer.op for layer in half.layers if isinstance(layer.op, StateSpace))
        assert (op.heads, op.groups) == (40, 1)
        # Each scan's sum, of the layer's output, and the embedding's.
        sums = [layer for layer in half.layers if getattr(layer.op, "sent", "") and layer.name.endswith("reduce")]
        assert len(sums) == 65

    def test_ranks_share_channels(self, made: dict[str, Workload]) -> None:
        half = shard(made["mamba"], 2, 1, 1, sequence=False)
        scans = [layer for layer in half.layers if isinstance(layer.op, SelectiveScan)]
        assert {scan.inputs for scan in scans} == {((512, 2560), (512, 2560), (512, 16), (512, 16), (512, 5120))}
        sent = [layer for layer in half.layers if getattr(layer.op, "sent", "")]
        assert len(sent) == 64 * 2 + 1  # the selection's sum, the output's, and the embedding's
        # Back: the gradients of what enters each layer, of the steps' features, of B and of C, and of the head's input.
        assert sum(bool(getattr(layer.op, "returned", "")) for layer in half.layers) == 64 * 4 + 1

    def test_positions_are_not_shared_out(self, made: dict[str, Workload]) -> None:
        with pytest.raises(UnsupportedError, match="carries states along its positions; cp has no rule"):
            shard(made["mamba2"], 1, 2, 1, sequence=False)


def test_where_states_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}))  # fmt: skip
    with pytest.raises(UnsupportedError, match="no causal attention"):
        _ = deployed(load_workload(f"hf:{tmp_path}")).generator
