"""The computer that feeds a device: classes, a measured figure, and what they change."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.calibration.measurements import options_of, read_measurements
from simulator.device.device import load_device
from simulator.device.framework import load_framework
from simulator.device.host import hosted, is_measured, load_host
from simulator.errors import InputError, UnknownNameError, UnsupportedError
from simulator.pipeline import Options, Simulation, simulate
from simulator.workload.reading import load_workload

CLASSES = sorted(path.stem for path in Path(__file__).parents[2].glob("hardware_profiles/hosts/*.yaml"))


def small(host: str, batch: int = 1) -> Simulation:
    options = Options(batch=batch, task="infer", host=host)
    return simulate(load_workload("mobilenet_v2"), load_device("v100"), options)


def test_an_unsaid_host_is_the_device_itself() -> None:
    device = load_device("v100")
    assert hosted(device, "") is device
    assert small("").step.time_s == small("server").step.time_s


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_scales_what_a_call_costs(name: str) -> None:
    host, device = load_host(name), load_device("v100")
    usual = device.kernel["desktop_host"] if host.desktop else 1.0
    assert hosted(device, name).host_scale == pytest.approx(usual / host.speed)
    assert not is_measured(name)


def test_a_call_costs_what_it_does_in_the_computer_that_a_profile_names() -> None:
    desktop, server = load_device("rtx-3090"), load_device("v100")
    assert (desktop.profile.host, server.profile.host) == ("desktop", "server")
    assert desktop.host_scale == desktop.kernel["desktop_host"] < 1
    assert server.host_scale == 1
    assert hosted(desktop, "server").host_scale == 1


def test_a_figure_is_the_time_of_a_forward_call() -> None:
    call_s = load_framework("pytorch").dispatch_s[0]
    # Half of the time that the framework's own file states: twice the speed.
    assert hosted(load_device("v100"), f"{call_s / 2 * 1e6}us").host_scale == pytest.approx(0.5)
    assert is_measured("35us")


def test_a_faster_host_shortens_small_steps_alone() -> None:
    assert small("desktop-2023").step.time_s < small("desktop").step.time_s < small("cloud").step.time_s
    assert small("desktop-2023", 512).step.time_s == pytest.approx(small("cloud", 512).step.time_s, rel=0.05)


def test_a_figure_narrows_the_interval_and_a_class_does_not() -> None:
    unknown, named, measured = (small(host).interval for host in ("", "server", "49.3us"))
    assert unknown is not None
    assert named is not None
    assert measured is not None
    assert unknown.high == pytest.approx(named.high)
    assert measured.high / measured.low < unknown.high / unknown.low
    assert any("--host" in reason for reason in unknown.reasons)
    assert not any("host" in reason for reason in measured.reasons)


def test_what_is_no_host_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown host 'desktp'; did you mean 'desktop'"):
        Options(host="desktp")
    with pytest.raises(InputError, match="35 parsecs"):
        Options(host="35 parsecs")
    with pytest.raises(UnsupportedError, match="its own host"):
        hosted(load_device("cpu-16core"), "server")


def test_a_measured_row_names_its_host(tmp_path: Path) -> None:
    table = "workload,device,task,precision,batch,devices,step_s,host\nlenet5,v100,train,fp32,1,1,0.002,desktop\n"
    (tmp_path / "measured.csv").write_text(table, encoding="utf-8")
    (row,) = read_measurements(tmp_path / "measured.csv")
    assert options_of(row).host == "desktop"
