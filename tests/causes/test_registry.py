"""One place for each coefficient: what profiles, fits, explanations and documentation say of it follows."""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest

from simulator import catalog
from simulator.calibration.fit import Parameter
from simulator.calibration.machine.fitting import STARTS
from simulator.calibration.profiles import parameters
from simulator.causes.cause import MACHINE, Cause, Coefficient
from simulator.causes.groups import ThinImages
from simulator.causes.registry import CAUSES, HEADER, coefficients, fitted_families, neutral, starts_of, table
from simulator.causes.tiles import SmallTiles
from simulator.device.device import load_device
from simulator.device.inheritance import FAMILIES, load_family
from simulator.device.profile import KernelCoefficients
from simulator.device.schema import profile_schema
from simulator.errors import InputError
from simulator.op.base import Site
from simulator.op.kernel import OpClass, Phase
from simulator.op.kernels import Columns, pack
from simulator.op.normalization import BatchNorm
from simulator.pipeline import Options
from simulator.roofline.peeled import peeled

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "causes.md"
ALL = list(coefficients().values())
by_coefficient = pytest.mark.parametrize("one", ALL, ids=[one.name for one in ALL])
by_cause = pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)


def markdown() -> str:
    rows = [HEADER, tuple("---" for _ in HEADER), *table()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def test_the_page_of_causes_is_the_registry(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text(encoding="utf-8")
    start = text.index(f"| {HEADER[0]} |")
    if request.config.getoption("--update-golden"):
        PAGE.write_text(text[:start] + markdown(), encoding="utf-8")
        return
    assert text[start:] == markdown(), "pytest --update-golden tests/causes"


@by_coefficient
def test_a_profile_may_say_each_coefficient_within_its_bounds(one: Coefficient) -> None:
    assert getattr(KernelCoefficients(**{one.name: 1.0}), one.name) == 1.0
    listed = profile_schema("device")["$defs"]["KernelCoefficients"]["properties"][one.name]["anyOf"][0]
    assert listed["description"] == one.words
    least = {"gt": "exclusiveMinimum", "ge": "minimum"}
    assert {listed[least[bound]] for bound in one.unit.bounds} == set(one.unit.bounds.values())
    with pytest.raises(InputError, match=one.name):
        catalog.convert({one.name: -1.0}, KernelCoefficients, "here")


def test_a_profile_may_say_no_other() -> None:
    assert {field.name for field in fields_of_profile()} == set(coefficients())
    with pytest.raises(InputError, match="elementwise"):
        catalog.convert({"elementwize": 1.0}, KernelCoefficients, "here")


def fields_of_profile() -> tuple[object, ...]:
    import msgspec

    return msgspec.structs.fields(KernelCoefficients)


@by_coefficient
def test_each_is_documented_and_starts_where_it_may_stand(one: Coefficient) -> None:
    assert one.words
    assert one.starts.source
    for start, spread in one.starts.at.values():
        assert start > 0
        assert 0 < spread <= 1
        assert all(start >= least for least in one.unit.bounds.values())


def test_fits_start_where_the_registry_says() -> None:
    given = {(p.scope, p.key): (p.start, p.spread) for p in parameters() if p.key.startswith("kernel.")}
    assert given == {
        (f"families/{family}", f"kernel.{name}"): start
        for family in fitted_families()
        for name, start in starts_of(family).items()
    }
    assert starts_of(MACHINE) == STARTS
    assert Parameter("families/gpu", "kernel.matrix_tile", 47, 0.15) in parameters()
    assert Parameter("families/ada", "kernel.matrix_tile", 22, 0.3) in parameters()


@pytest.mark.parametrize("family", fitted_families())
def test_what_is_fitted_stands_in_the_familys_file(family: str) -> None:
    given = load_family(family).kernel
    assert given is not None
    assert [name for name in starts_of(family) if getattr(given, name) is None] == []


@pytest.mark.parametrize("kind", ["gpu", "cpu", "tpu", "npu"])
def test_a_kind_gives_every_coefficient_that_nothing_stands_in_for(kind: str) -> None:
    assert kind in catalog.names(FAMILIES)
    given = load_family(kind).kernel
    assert [one.name for one in ALL if one.absent is MISSING and getattr(given, one.name) is None] == []


class Bare:
    """A device of which nothing is known."""

    name = "bare"
    kernel: dict[str, float] = {}  # noqa: RUF012 - never changed


def test_a_coefficient_that_nothing_gives_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match=r"^bare has no kernel\.vector_tile; give one with --set kernel\.vector_tile="):
        SmallTiles.of(Bare())


@by_cause
def test_a_cause_takes_a_devices_values_and_what_stands_in_for_the_others(cause: type[Cause]) -> None:
    own = cause.coefficients()
    device = Bare()
    device.kernel = {one.name: 2.0 + place for place, one in enumerate(own)}
    made = cause.of(device)
    assert [getattr(made, one.name) for one in own] == [2.0 + place for place in range(len(own))]
    device.kernel = {one.name: 2.0 for one in own if one.absent is MISSING}
    made = cause.of(device)
    assert {one.name: getattr(made, one.name) for one in own} == {
        one.name: 2.0 if one.absent is MISSING else one.absent for one in own
    }


def test_two_causes_may_not_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.causes.registry.CAUSES", (*CAUSES, SmallTiles))
    with pytest.raises(ValueError, match="one name"):
        coefficients.__wrapped__()


def test_what_is_taken_away_is_each_slowing_cause_at_its_neutral_values() -> None:
    device = load_device("v100")
    *_, (_, last) = peeled(Options().on(device))
    taken = {one.name for cause in CAUSES if cause.slows for one in cause.coefficients()}
    for name, value in device.kernel.items():
        expected = coefficients()[name].neutral if name in taken else value
        assert last.device.kernel[name] == expected, name
    assert neutral("tiles")["matrix_depth"] == 0
    assert neutral("caches") == {}


def normalised(phase: Phase) -> Columns:
    site = Site(((8, 4, 4),), (8, 4, 4))
    op = BatchNorm()
    kernels = op.forward(site) if phase is Phase.FORWARD else op.backward(site)
    return pack(kernels)


def test_a_device_without_thin_kernels_leaves_all_to_others() -> None:
    columns = normalised(Phase.FORWARD)
    without = ThinImages(thin=None, thin_gradient=None).seconds(columns, np.ones(len(columns)))
    assert all(map(math.isnan, without))


def test_the_depth_on_tensor_cores_falls_to_the_lanes_where_it_is_not_told_apart() -> None:
    common = {"vector_tile": 1.0, "matrix_tile": 1.0, "vector_depth": 2.0, "matrix_depth": 3.0, "weight_depth": 5.0}
    columns = normalised(Phase.FORWARD)
    assert set(SmallTiles(**common).depth(columns, tensor=True)) == {3.0}
    assert set(SmallTiles(**common).depth(columns, tensor=False)) == {2.0}


def test_the_tile_of_tensor_cores_grows_with_the_bytes_that_they_take_at_a_clock() -> None:
    tiles = SmallTiles(vector_tile=1.0, matrix_tile=40.0, vector_depth=0.0, matrix_depth=0.0, weight_depth=0.0)
    assert tiles.matrix_side(2, None) == 40
    assert tiles.matrix_side(2, 1024) == 40
    # Twice the operations at a clock of half the bytes move as much.
    assert tiles.matrix_side(1, 2048) == 40
    assert tiles.matrix_side(2, 512) == 20


def test_no_formula_reads_a_coefficient_by_hand() -> None:
    """Profiles' coefficients come through their causes, so that absence means one thing."""
    by_hand = re.compile(r"device\.kernel(\[\"|\.get\()|\" in device\.kernel")
    found = [
        path.name
        for room in ("roofline", "device", "execution", "serving", "planning", "calibration", "report")
        for path in (ROOT / "simulator" / room).rglob("*.py")
        if by_hand.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_class_of_kernels_has_a_coefficient_of_its_passes() -> None:
    from simulator.causes.passes import Passes

    names = [one.name for one in Passes.coefficients()]
    passes = Passes(**{name: float(place + 1) for place, name in enumerate(names)})
    values = {op_class.name: names[int(passes.of_class(op_class, compiled=False)) - 1] for op_class in OpClass}
    assert values["ATTENTION"] == values["GEMM"] == values["CONVOLUTION"] == "operand"
    assert (values["LOOKUP"], values["CAST"], values["SOFTMAX"]) == ("copy", "update", "softmax")
    compiled = {op_class.name: names[int(passes.of_class(op_class, compiled=True)) - 1] for op_class in OpClass}
    changed = {name for name in compiled if compiled[name] != values[name]}
    assert changed == {"NORMALIZATION", "POOLING", "SOFTMAX", "COPY", "REDUCTION"}
    assert {compiled[name] for name in changed} == {"elementwise"}


def test_fields_of_causes_are_coefficients_alone() -> None:
    for cause in CAUSES:
        assert [one.name for one in fields(cause)] == [one.name for one in cause.coefficients()]  # type: ignore[arg-type]
