"""The input of a step: stages by hand, the page cache drawn by chance, what is unknown, and the slowest that binds."""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.device.device import load_device
from simulator.device.loader import load_loader
from simulator.device.storage import load_storage
from simulator.device.system import cluster_of_system
from simulator.errors import InputError, SimulatorError, UnknownNameError, UnsupportedError
from simulator.execution.input import Feeding, copied_bytes, hit_rate, input_of
from simulator.pipeline import Options, fed, simulate
from simulator.roofline.times import Bound
from simulator.workload.dataset import NO_DATASET, Dataset
from simulator.workload.reading import load_workload

V100 = load_device("v100-sxm2-16gb")
RESNET = load_workload("resnet50")
LENET = load_workload("lenet5")
GIB = 2**30


def test_stages_by_hand() -> None:
    # Preparing: 256 x (1.66 + 1.78) ms / 8 = 110.08 ms. Copying: 256 x 602,112 B / (0.83 x 15.75 GB/s) = 11.79 ms.
    # Reading from a hard disk, 2 devices of a machine: 512 x (110 kB / 200 MB/s + 8 ms) = 4.3776 s.
    found = input_of(RESNET, V100, Feeding("pillow", 8, storage="hdd"), (256, 0.05), (2, 1))
    assert found.prepare_s == pytest.approx(0.11008)
    assert found.copy_s == pytest.approx(256 * 602112 / (0.83 * 15.75e9))
    assert found.read_s == pytest.approx(4.3776)
    assert (found.slowest, found.time_s, found.cached) == ("reading", found.read_s, 0.0)
    assert found.exposed_s == pytest.approx(4.3276)
    assert found.of_device == pytest.approx(4.3776 / 0.05)
    # 256 x 3.44 ms / 50 ms = 17.6: eighteen workers keep up.
    assert found.enough_workers == 18


def test_a_loader_may_hand_over_slower_than_the_link() -> None:
    found = input_of(RESNET, V100, Feeding("tf-arrays"), (256, 0.05))
    assert found.copy_s == pytest.approx(256 * 602112 / 2e9)
    assert found.exposed_s == pytest.approx(found.copy_s - 0.05)


def test_a_decoder_of_the_device_takes_no_cores() -> None:
    # 256 images of 110 kB, 0.128 ms each: 32.8 ms, longer than the device's 20 ms. Bytes are copied, no worker waits.
    found = input_of(RESNET, load_device("a100-sxm4-80gb"), Feeding("dali-gpu"), (256, 0.02))
    assert found.prepare_s == pytest.approx(256 * 0.128e-3)
    assert (found.slowest, found.enough_workers) == ("preparing", None)
    assert found.copy_s == pytest.approx(256 * 3 * 224 * 224 / (0.83 * 31.5e9), rel=1e-3)
    # Files twice as large take twice as long.
    larger = replace(RESNET, dataset=Dataset(name="x", samples=9, encoding="jpeg", sample_bytes=220e3))
    assert input_of(larger, load_device("a100-sxm4-80gb"), Feeding("dali-gpu"), (256, 0.02)).prepare_s == pytest.approx(
        2 * found.prepare_s
    )


def test_images_that_nobody_decodes_lie_in_storage_as_arrays() -> None:
    # 602,112 bytes at 200 MB/s each, and what a file takes that records do not.
    loader, disk = load_loader("tf-arrays"), load_storage("hdd")
    assert loader.decode_s is None
    found = input_of(RESNET, V100, Feeding("tf-arrays", storage="hdd"), (256, 0.05))
    each_s = 602_112 / 200e6 + (0.0 if loader.records else disk.file_s)
    assert found.read_s == pytest.approx(256 * each_s)


def test_records_lose_no_time_before_a_file() -> None:
    # 64 x 110 kB / 200 MB/s = 35.2 ms; bytes are copied, a quarter of pillow's values.
    found = input_of(RESNET, V100, Feeding("ffcv", 8, storage="hdd"), (64, 1.0))
    assert found.read_s == pytest.approx(0.0352)
    assert copied_bytes(RESNET, load_loader("ffcv")) == 3 * 224 * 224


def test_tokens_are_read_as_they_are() -> None:
    # 2,048 bytes a sample of 1,024 tokens: over SATA 8 x 2,048 / 550 MB/s; 8 x 1,024 x 8 bytes are copied.
    found = input_of(load_workload("gpt2"), V100, Feeding("none", storage="sata-ssd"), (8, 1.0))
    assert found.read_s == pytest.approx(8 * 2048 / 550e6)
    assert found.copy_s == pytest.approx(8 * 1024 * 8 / (0.83 * 15.75e9))
    assert (found.prepare_s, found.enough_workers) == (0.0, None)


def test_a_page_cache_drawn_by_chance() -> None:
    draw, count = random.Random(7), 2000
    for share in (0.25, 0.5, 0.8):
        kept: OrderedDict[int, None] = OrderedDict()
        hits = 0
        for epoch in range(6):
            for sample in draw.sample(range(count), count):
                hits += epoch > 0 and sample in kept
                kept[sample] = None
                kept.move_to_end(sample)
                if len(kept) > share * count:
                    kept.popitem(last=False)
        assert hits / (5 * count) == pytest.approx(hit_rate(share), abs=0.012)


@given(st.floats(0, 1.2), st.floats(0, 1.2))
def test_a_larger_cache_answers_more(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= hit_rate(low) <= hit_rate(high) + 1e-12
    assert hit_rate(high) <= min(high, 1.0) + 1e-12


@given(st.integers(1, 64), st.integers(1, 512), st.sampled_from(["pillow", "pillow-simd", "dali", "ffcv"]))
def test_more_workers_are_never_slower(workers: int, batch: int, loader: str) -> None:
    few = input_of(RESNET, V100, Feeding(loader, workers, storage="nvme-pcie4"), (batch, 0.1))
    many = input_of(RESNET, V100, Feeding(loader, workers + 1, storage="nvme-pcie4"), (batch, 0.1))
    assert many.time_s <= few.time_s
    enough = input_of(RESNET, V100, Feeding(loader, few.enough_workers), (batch, 0.1))
    assert enough.prepare_s <= 0.1 * (1 + 1e-12)


def test_a_step_waits_for_its_slowest_stage() -> None:
    alone = simulate(RESNET, V100, Options(batch=256, precision="amp", epochs=2))
    slow = fed(alone, Feeding("pillow", 1))
    # 256 x 3.44 ms on one worker.
    assert slow.step.time_s == pytest.approx(0.88064)
    assert slow.step.bound is Bound.INPUT
    assert sum(slow.step.bound_shares) == pytest.approx(1)
    parts = slow.step.forward_s + slow.step.backward_s + slow.step.update_s + slow.step.input_s
    assert parts == pytest.approx(slow.step.time_s)
    assert slow.run.epoch_s == pytest.approx(1281167 * 3.44e-3)
    assert slow.interval is None
    assert slow.step.mfu * slow.step.time_s == pytest.approx(alone.step.mfu * alone.step.time_s)


def test_a_loader_that_keeps_up_changes_no_time() -> None:
    alone = simulate(RESNET, V100, Options(batch=128, epochs=3))
    quick = fed(alone, Feeding("dali", 16))
    assert (quick.step, quick.run, quick.interval) == (alone.step, alone.run, alone.interval)
    assert quick.input is not None
    assert quick.input.exposed_s == 0


@pytest.mark.parametrize(
    ("feeding", "workload", "message"),
    [
        (Feeding("pillow"), RESNET, "give --workers"),
        (Feeding("pillow", 4), LENET, "mnist is not known to hold any"),
        (Feeding("dali-gpu"), RESNET, "v100-sxm2-16gb has no decoder that was measured: a100-pcie-40gb, "),
        (Feeding("none"), replace(RESNET, dataset=NO_DATASET), "names no dataset"),
        (Feeding("pillow", 4), replace(RESNET, dataset=Dataset(name="x", samples=9, encoding="jpeg")), "many bytes"),
        (Feeding("none", storage="hdd"), replace(RESNET, dataset=Dataset(name="x", samples=9)), "how many bytes"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_an_error(feeding: Feeding, workload: object, message: str) -> None:
    with pytest.raises(SimulatorError, match=message):
        input_of(workload, V100, feeding, (64, 0.1))  # type: ignore[arg-type]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'pillow'"):
        Feeding("pilow", 4)
    with pytest.raises(UnknownNameError, match="storage"):
        Feeding("none", storage="floppy")
    with pytest.raises(InputError, match="give both"):
        Feeding("none", cache_bytes=GIB)
    with pytest.raises(InputError, match="--worker-rate"):
        Feeding("none", 4, samples_per_s=float("nan"))
    with pytest.raises(UnsupportedError, match="several machines"):
        input_of(RESNET, V100, Feeding("pillow", 4, storage="hdd", cache_bytes=GIB), (64, 0.1), (8, 2))
    with pytest.raises(UnsupportedError, match="no link to the host"):
        input_of(RESNET, load_device("m1"), Feeding("pillow", 4), (64, 0.1))


def test_a_cache_of_the_whole_reads_nothing() -> None:
    found = input_of(RESNET, V100, Feeding("pillow", 4, storage="hdd", cache_bytes=200 * GIB), (64, 0.1), (8, 2))
    assert (found.read_s, found.cached) == (0.0, 1.0)


def test_a_measured_rate_goes_before_ours() -> None:
    found = input_of(LENET, V100, Feeding("none", 2, samples_per_s=1000.0), (64, 0.1))
    assert found.prepare_s == pytest.approx(0.032)


def test_the_processors_own_memory_needs_no_copy() -> None:
    assert input_of(LENET, load_device("cpu-16core"), Feeding("none"), (64, 0.1)).copy_s == 0


def test_an_ssd_measured_at_two_sizes_of_file() -> None:
    # Files of 16 KiB at 1,006 MiB/s, as its source has it: the model's rate lies within 3 %.
    storage = load_storage("samsung-980-pro")
    assert 16384 / (16384 / storage.read_byte_per_s + storage.file_s) == pytest.approx(1006.3 * 2**20, rel=0.03)


def test_workers_are_the_machines_cores_and_disks_its_own() -> None:
    """A DGX A100 has 128 cores for eight devices and eight disks; four devices have half of its cores."""
    box = cluster_of_system("dgx-a100-80gb").machine
    asked = Feeding("pillow", storage="local")
    assert asked.on(box, 8, 8) == Feeding("pillow", 16, storage="nvme-pcie4*8")
    assert asked.on(box, 4, 4).workers == 16
    assert asked.on(box, 1, 4).workers == 64
    assert Feeding("pillow", 3).on(box, 8, 8).workers == 3
    assert Feeding("pillow").on(None, 1, 1).workers is None
    with pytest.raises(InputError, match="give --system"):
        asked.on(None, 1, 1)


def test_tokens_without_a_stated_size_have_four_bytes() -> None:
    gpt = load_workload("gpt2", samples=512)
    found = input_of(gpt, V100, Feeding("none", storage="nvme-pcie4"), (8, 0.05))
    assert found.read_s == pytest.approx(8 * 1024 * 4 / load_storage("nvme-pcie4").read_byte_per_s)
