"""Answers in words, of numbers made up by hand: steps and intervals, calendar and bill."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from simulator.errors import UnsupportedError
from simulator.execution.bill import Amount, Bill, Power
from simulator.execution.certainty import Interval
from simulator.execution.course import Course
from simulator.execution.failures import Interrupted
from simulator.execution.input import Input
from simulator.execution.wall import Wall
from simulator.pipeline import Options
from simulator.report import plan
from simulator.report.asked import no_interval, utilisation_words
from simulator.report.bill import bill_lines, course_lines, input_lines
from simulator.report.epochs import _notes
from simulator.report.scorecard import basis_line, exchange_lines, interval_lines, steps_line
from simulator.report.style import machine as machine_words

HOUR, KWH = 3600.0, 3.6e6


def named(**fields: Any) -> Any:
    return SimpleNamespace(**fields)


def words(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


# ---- steps

WORDS = named(inputs=((3, 2, 2),), name="net", dataset=named(name="data", label="data (9 samples)"))


def answer(samples: int, batch: int, devices: int = 1, **more: Any) -> Any:
    """A step of 100 ms a batch; half of it forward, two fifths backward."""
    step = named(
        **{"forward_s": 0.05, "backward_s": 0.04, "update_s": 0.01, "time_s": 0.1, "devices": devices, "input_s": 0.0},
        samples_per_s=batch * devices / 0.1,
    )
    run = named(
        samples=samples, steps_per_epoch=-(-samples // (batch * devices)), epoch_s=60.0, epochs=2, total_s=120.0
    )
    plain = {"step": step, "run": run, "batch": batch, "counts_epochs": True, "workload": WORDS, "interval": None}
    return named(**{**plain, "calibrated": True, "options": Options(), "bill": None, "course": None, **more})


EACH = "100 ms (forward 50.0 ms, backward 40.0 ms, update 10.0 ms)"


@pytest.mark.parametrize(
    ("samples", "batch", "devices", "expected"),
    [
        (1000, 10, 1, f"epoch 1.00 min = 100 steps, each {EACH}; 100.0 samples/s"),
        (1003, 10, 1, f"epoch 1.00 min = 100 steps and one of 3 samples, each {EACH}; 100.0 samples/s"),
        (10, 10, 1, f"epoch 1.00 min = 1 step, each {EACH}; 100.0 samples/s"),
        (9, 10, 1, f"epoch 1.00 min: one step of its 9 samples; a full step takes {EACH}; 100.0 samples/s"),
        # Four devices take 40 samples a step.
        (39, 10, 4, f"epoch 1.00 min: one step of its 39 samples; a full step takes {EACH}; 400.0 samples/s"),
        (100, 10, 4, f"epoch 1.00 min = 2 steps and one of 20 samples, each {EACH}; 400.0 samples/s"),
    ],
)
def test_steps_of_an_epoch(samples: int, batch: int, devices: int, expected: str) -> None:
    assert steps_line(answer(samples, batch, devices)) == expected


def test_a_step_alone_and_a_step_of_tokens() -> None:
    assert steps_line(answer(1000, 10, counts_epochs=False)) == f"a step takes {EACH}; 100.0 samples/s"
    text = named(inputs=((512,),), name="net", dataset=WORDS.dataset)
    assert steps_line(answer(1000, 10, workload=text)).endswith("; 100.0 samples/s, 51,200 tokens/s")
    forward = answer(1000, 10, counts_epochs=False)
    forward.step.backward_s = 0.0
    assert steps_line(forward) == "a step takes 100 ms (forward 50.0 ms); 100.0 samples/s"


def test_how_sure_a_total_is() -> None:
    def lines(**more: Any) -> list[str]:
        return interval_lines(answer(1000, 10, **more))

    sure = Interval(0.5, 1.5, 0.8)
    assert lines(interval=sure) == ["with 80% probability 1.00 to 3.00 min"]
    assert lines(interval=Interval(0.5, 1.5, 0.8, validated=False, reasons=("a", "b"))) == [
        "unvalidated: 1.00 to 3.00 min (a; b)"
    ]
    assert lines(interval=None, calibrated=False) == []


def test_why_a_calibrated_time_has_no_interval() -> None:
    waiting = answer(1000, 10)
    waiting.step.input_s = 0.1
    assert no_interval(waiting) == "no interval: no step that waits for its input was measured"
    bound = answer(1000, 10, options=Options(traffic="naive"))
    assert no_interval(bound) == "no interval: --traffic naive is a bound"
    assert no_interval(answer(1000, 10, device=named(kind="tpu"))) == "no interval: no step of a tpu was measured"


def test_utilisation_up_to_all_and_beyond() -> None:
    assert utilisation_words(1.0, "14 TFLOP/s fp32 peak") == "100% of the 14 TFLOP/s fp32 peak used (MFU)"
    assert utilisation_words(1.01, "peak").startswith("operations counted are 101% of what the peak does in that time")


def test_what_devices_exchange() -> None:
    exchange = named(message_bytes=np.array([1e9, 2e9]), busy_s=0.2)
    step = named(devices=8, communication_s=0.05, kept_share=0.9)
    assert list(exchange_lines(cast(Any, named(exchange=exchange, step=step)))) == [
        "exchange: 3.00 GB of gradients in 2 buckets, 200 ms on the link; with waiting for the slowest device 50.0 ms "
        "are exposed: 90% of the speed of 8 devices that exchange nothing"
    ]
    assert list(exchange_lines(cast(Any, named(exchange=None, step=step)))) == []


def test_what_a_time_rests_on() -> None:
    made = named(options=Options(), grade="calibrated", workload=named(unknown=()))
    plain = "fidelity calibrated (weakest number used: calibrated), traffic ideal"
    assert basis_line(made) == plain
    made.workload.unknown = ("a", "b")
    assert basis_line(made) == f"{plain}; 2 layers have no cost rule and count nothing"


def test_the_devices_of_an_answer() -> None:
    device = named(label="v100")
    assert machine_words(cast(Any, named(cluster=None, device=device))) == "v100"
    one = named(devices=1, label="1 over nvlink2")
    assert machine_words(cast(Any, named(cluster=one, device=device))) == "v100"
    eight = named(devices=8, label="8 over nvlink2")
    assert machine_words(cast(Any, named(cluster=eight, device=device))) == "8 x v100 over nvlink2"


def test_notes_below_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.report.epochs.footer", lambda _: ["basis", "command"])
    failed: Any = [(f"d{number}", UnsupportedError("no peak")) for number in range(7)]
    made = answer(1000, 10)
    assert _notes(made, [], 0) == ["an epoch: 1,000 samples, 100 steps · basis", "command"]
    assert _notes(answer(1000, 10, counts_epochs=False), [], 0) == ["basis", "command"]
    assert _notes(made, failed[:6], 19)[2:] == ["cannot run it (report.md says why): d0, d1, d2, d3, d4, d5"]
    assert _notes(made, failed, 20)[2:] == [
        "cannot run it (report.md says why): d0, d1, d2, d3, d4, d5 …",
        "the 20 shown of 21 devices are the nearest; all are in report.md",
    ]


# ---- calendar, bill, input


def test_a_calendar_in_words() -> None:
    assert list(course_lines(None)) == []
    bare = Course(HOUR, 0.0, 0.0, 0.0, 0, 0)
    assert list(course_lines(bare)) == ["on the calendar 1.00 hours: 1.00 hours of steps"]
    full = Course(HOUR, 60.0, 120.0, 180.0, 2, 1500)
    assert list(course_lines(full)) == [
        "on the calendar 1.10 hours: 1.00 hours of steps, 1.00 min waiting for the slowest device, 2.00 min of "
        "warm-up, 3.00 min for 2 evaluations; 1,500 samples of an epoch are dropped"
    ]
    once = Course(HOUR, 0.0, 0.0, 180.0, 1, 0)
    assert list(course_lines(once)) == ["on the calendar 1.05 hours: 1.00 hours of steps, 3.00 min for 1 evaluation"]


def amount(time_s: float, usd: float | None, kwh: float | None, grams: float | None = None) -> Amount:
    return Amount(time_s, usd, None if kwh is None else kwh * KWH, grams)


def bill_with(**more: Any) -> Bill:
    """An hour of four boards at 3 USD, at most 2 kWh."""
    plain: dict[str, Any] = {
        **{"time_s": HOUR, "devices": 4, "interrupted": None, "price_usd_per_hour": 3.0, "price_date": ""},
        **{
            "price_note": "",
            "cost_usd": 12.0,
            "power_w": 2000.0,
            "energy_j": 2 * KWH,
            "carbon_g": 800.0,
            "drawn": None,
        },
        **{
            "power_of": "devices",
            "wall": None,
            "step": None,
            "epoch": None,
            "run": amount(HOUR, 12.0, None),
            "low": None,
            "high": None,
        },
    }
    return Bill(**{**plain, **more})


DRAWN = Power(1200.0, 1000.0, 1500.0, 200.0, 400.0, 500.0, 100.0)
EACH_BOARD = "300 W a device, without what its computer draws beside"
MOST = "at most 2 kWh, with every board at its limit"


def test_what_is_at_most_known_of_a_run() -> None:
    assert list(bill_lines(None)) == []
    assert list(bill_lines(bill_with())) == [
        f"the run costs 12.00 USD; energy {MOST}, 0.8 kg of carbon dioxide",
    ]
    bare = bill_with(cost_usd=None, energy_j=None, carbon_g=None)
    assert list(bill_lines(bare)) == ["the run costs unknown, for want of a price; energy unknown"]
    dated = bill_with(price_date="2026", price_note="cloud", carbon_g=None)
    assert list(bill_lines(dated)) == [f"the run costs 12.00 USD (price of 2026, cloud); energy {MOST}"]
    assert next(bill_lines(bill_with(price_date="2026", carbon_g=None))).startswith(
        "the run costs 12.00 USD (price of 2026);"
    )


def test_what_is_expected_of_a_run() -> None:
    run = amount(HOUR, 12.0, 1.2, 480.0)
    found = bill_with(drawn=DRAWN, run=run)
    assert list(bill_lines(found)) == [
        f"the run costs 12.00 USD; energy 1.2 kWh, 0.48 kg of carbon dioxide, {EACH_BOARD}; {MOST}"
    ]
    likely = bill_with(
        drawn=DRAWN,
        run=amount(HOUR, 12.0, 1.2),
        low=amount(HOUR, 10.0, 1.0),
        high=amount(HOUR, 15.0, 1.5),
        epoch=amount(HOUR / 2, 6.0, 0.6),
        step=amount(1.0, 0.00333, 0.001),
    )
    assert list(bill_lines(likely)) == [
        "the run costs 12.00 USD (10.00 to 15.00 USD with 80% probability); energy 1.2 kWh (with 80% probability 1 "
        f"kWh to 1.5 kWh), {EACH_BOARD}; {MOST}",
        "an epoch costs 6 USD and 0.6 kWh; a step 0.00333 USD and 3.60 kJ",
    ]
    # Of one bound alone no interval is said; an epoch that is the run is not said twice.
    half = bill_with(drawn=DRAWN, run=run, low=amount(HOUR, 10.0, 1.0), epoch=run, step=amount(1.0, 0.5, 0.1))
    assert "probability" not in " ".join(bill_lines(half))
    assert list(bill_lines(half))[1:] == ["a step costs 0.5 USD and 0.1 kWh"]
    free = bill_with(cost_usd=None, epoch=amount(1.0, None, None), step=amount(0.1, None, 1.0))
    assert list(bill_lines(free))[1] == "an epoch costs an unknown price; a step an unknown price and 1 kWh"


def test_machines_at_the_wall() -> None:
    # Two machines of 2.5 kW together, of which the four boards draw 1.2 kW.
    wall = Wall("dgx", 2, 2500.0, 2000.0, 3000.0, 500.0, 6000.0)
    (line,) = bill_lines(bill_with(drawn=DRAWN, wall=wall, power_of="machines", run=amount(HOUR, 12.0, 2.5)))
    assert line == (
        "the run costs 12.00 USD; energy 2.5 kWh, 1.25 kW a dgx at the wall, 300 W of them a device; at most 2 kWh, "
        "with every machine at its rated power"
    )


def test_what_failures_add() -> None:
    broken = Interrupted(HOUR, 600.0, 500.0, 550.0, 1.25 * HOUR, 2.5, 120.0, 780.0)
    assert next(bill_lines(bill_with(interrupted=broken))) == (
        "with 2.5 failures expected: 1.25 hours, 25.0% more: 2.00 min for checkpoints every 10.0 min (best by Daly "
        "9.17 min, by Young 8.33 min), 13.0 min lost"
    )


def fed(**seconds: float) -> Input:
    times = {"reading": 0.0, "preparing": 0.0, "copying": 0.0, **seconds}
    return Input("pillow", "hdd", 4, *times.values(), 0.25, 0.1, 18)


def test_an_input_that_keeps_up_and_one_that_does_not() -> None:
    assert list(input_lines(None)) == []
    assert list(input_lines(fed(copying=0.05))) == [
        "input by pillow, from hdd (25% from the page cache): copying 50.0 ms a step: it keeps up with 100 ms of the "
        "device, copying at 50.0%"
    ]
    assert list(input_lines(fed(preparing=0.25, reading=0.1), "replica")) == [
        "input by pillow, 4 workers a replica, from hdd (25% from the page cache): reading 100 ms, preparing 250 ms a "
        "step: preparing binds, 2.50 times 100 ms of the device; 18 workers would keep up"
    ]
    assert next(input_lines(fed(reading=0.2))).endswith("reading binds, 2.00 times 100 ms of the device")


# ---- plans


@pytest.mark.parametrize(
    ("epochs", "asked", "bill", "expected"),
    [
        (1, 1, None, ["1 epoch of data (9 samples): 25 steps, 1.00 min"]),
        (4, 4, None, ["4 epochs of data (9 samples): 100 steps, 1.00 min"]),
        (1, None, None, []),
    ],
)
def test_epochs_of_a_plan_where_they_are_asked_for(
    epochs: int, asked: int | None, bill: Any, expected: list[str]
) -> None:
    run = named(epochs=epochs, steps_per_epoch=25, total_s=60.0)
    made = named(run=run, options=named(epochs=asked), bill=bill, course=None, workload=WORDS)
    assert list(plan.run_lines(cast(Any, made))) == expected
    billed = named(run=run, options=named(epochs=None), bill=bill_with(), course=None, workload=WORDS)
    assert len(list(plan.run_lines(cast(Any, billed)))) == 2
