"""Where labels go, in pixels worked by hand: what they keep clear of, how near they stay, and along which lines."""

from __future__ import annotations

from math import cos, hypot, pi, radians, sin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.report import placement
from simulator.report.placement import Box, Canvas, Label, along, anchor

WIDE = Box(0, 0, 1000, 1000)
LABEL = Label(500.0, 500.0, 10.0, 40.0, 12.0)


def canvas(*discs: tuple[float, float, float], boxes: tuple[Box, ...] = (), frame: Box = WIDE) -> Canvas:
    return Canvas(frame, list(boxes), np.array(discs, dtype=float).reshape(-1, 3))


def placed(label: Label, on: Canvas) -> Box:
    (box,) = on.place([label])
    assert box is not None
    return box


@pytest.mark.parametrize(
    ("other", "apart"),
    [(Box(10, 0, 20, 10), 0), (Box(0, 10, 10, 20), 0), (Box(13, 0, 20, 10), 3), (Box(-20, -20, -4, -4), 4)],
)
def test_boxes_overlap_where_they_come_nearer_than_a_gap(other: Box, apart: float) -> None:
    one = Box(0, 0, 10, 10)
    for first, second in ((one, other), (other, one)):
        assert not first.overlaps(second, apart)
        assert first.overlaps(second, apart + 0.01)
    assert one.overlaps(one)
    assert one.overlaps(Box(4, 4, 6, 6))


def test_a_label_stands_as_near_as_it_may() -> None:
    # With nothing in its way: 5 pixels from the disc, less what its corner gains at a slant; its size as asked for.
    box = placed(LABEL, canvas())
    assert (box.right - box.left, box.top - box.bottom) == pytest.approx((40, 12))
    end = anchor(box, 500, 500)
    assert 13.5 < hypot(end[0] - 500, end[1] - 500) <= 15


def test_the_frame_and_what_stands_are_kept_clear() -> None:
    # A point in the corner has room above and to its right alone.
    box = placed(Label(5.0, 5.0, 3.0, 40.0, 12.0), canvas())
    assert box.left >= 0
    assert box.bottom >= 0
    box = placed(Label(995.0, 995.0, 3.0, 40.0, 12.0), canvas())
    assert box.right <= 1000
    assert box.top <= 1000
    # All around is taken but a gate on the right, four pixels wider on each side than the label.
    walls = (Box(0, 0, 1000, 490), Box(0, 510.1, 1000, 1000), Box(0, 490, 490, 510))
    box = placed(LABEL, canvas(boxes=walls))
    assert box.left > 500
    assert box.bottom >= 494
    assert box.top <= 506.1 + 1e-9
    tight = (Box(0, 0, 1000, 490.2), *walls[1:])
    assert canvas(boxes=tight).place([LABEL]) == [None]


def test_a_label_hides_no_disc_and_goes_elsewhere_or_nowhere() -> None:
    # Discs of a pixel and its edge, all over the right half: the label goes to the left.
    right = [(float(x), float(y), 2.0) for x in range(505, 800, 8) for y in range(400, 600, 8)]
    box = placed(LABEL, canvas(*right))
    assert box.right <= 505
    everywhere = [(float(x), float(y), 2.0) for x in range(200, 800, 8) for y in range(200, 800, 8)]
    assert canvas(*everywhere).place([LABEL]) == [None]


def test_the_first_label_has_the_choice_and_the_next_ones_keep_off() -> None:
    on = canvas()
    boxes = [box for box in on.place([LABEL] * 20) if box is not None]
    reach = [hypot(*np.subtract(anchor(box, 500, 500), (500, 500))) for box in boxes]
    assert len(boxes) == 20
    assert reach[0] == min(reach)
    assert on.boxes == boxes
    assert len(on.leaders) == 20
    # What leads from a label to its point is kept clear of too: sixteen dots of a pixel each.
    assert on.discs.shape == (20 * 16, 3)
    assert set(on.discs[:, 2]) == {1.0}
    for one in boxes:
        assert not any(one.overlaps(other) for other in boxes if other is not one)


def test_a_leader_crosses_no_other() -> None:
    on = canvas()
    on.leaders.append((np.array([0.0, 100.0]), np.array([200.0, 100.0])))
    crossing = np.array([[[100.0, 50.0], [100.0, 150.0]]])
    beyond, short = crossing + np.array([150.0, 0.0]), np.array([[[100.0, 50.0], [100.0, 99.0]]])
    leaders = np.concatenate([crossing, crossing[:, ::-1], beyond, short])
    assert on._tangled(leaders).tolist() == [1, 1, 0, 0]
    on.leaders.append((np.array([0.0, 120.0]), np.array([200.0, 120.0])))
    assert on._tangled(leaders).tolist() == [2, 2, 0, 0]


def test_a_leader_runs_through_so_many_boxes() -> None:
    steps = np.linspace(0, 1, 16)[:, None]
    leader = np.array([0.0, 5.0]) + steps * np.array([100.0, 0.0])
    boxes = [Box(20, 0, 40, 10), Box(60, 0, 80, 10), Box(20, 5, 40, 10), Box(20, 6, 40, 10), Box(110, 0, 130, 10)]
    assert placement._crossed(leader[None], boxes).tolist() == [2]


def test_a_box_is_clear_a_pixel_from_a_disc() -> None:
    box = Box(100, 100, 200, 120)
    for x, y, reach in ((50, 110, 50), (250, 110, 50), (150, 60, 40), (150, 160, 40), (97, 96, 5)):
        assert canvas((x, y, reach - 1.0)).is_clear(box)
        assert not canvas((x, y, reach - 0.9)).is_clear(box)
    assert not canvas((150, 110, 0.0)).is_clear(box)
    assert canvas().is_clear(box)


def test_ten_hidden_discs_are_as_bad_as_more() -> None:
    boxes = np.array([[0.0, 0.0, 10.0, 10.0], [100.0, 100.0, 110.0, 110.0]])
    assert canvas(*[(5.0, 5.0, 1.0)] * 3)._hidden(boxes).tolist() == [3, 0]
    assert canvas(*[(5.0, 5.0, 1.0)] * 12)._hidden(boxes).tolist() == [10, 0]


def test_boxes_that_are_taken_are_four_pixels_away() -> None:
    on = canvas(boxes=(Box(100, 100, 200, 200),))
    for box in (Box(204, 150, 220, 160), Box(80, 150, 96, 160), Box(150, 204, 160, 220), Box(150, 80, 160, 96)):
        assert on.holds([box])
    for box in (Box(203, 150, 220, 160), Box(80, 150, 97, 160), Box(150, 203, 160, 220), Box(150, 80, 160, 97)):
        assert not on.holds([box])
        assert not on.holds([Box(300, 300, 310, 310), box])
    assert not on.holds([Box(-1, 0, 10, 10)])
    assert not on.holds([Box(0, -1, 10, 10)])
    assert not on.holds([Box(990, 0, 1001, 10)])
    assert not on.holds([Box(0, 990, 10, 1001)])
    assert on.holds([Box(0, 0, 10, 10), Box(990, 990, 1000, 1000)])


@pytest.mark.parametrize("degrees", [0, 30, 90, 200])
def test_a_slanted_text_is_free_a_pixel_from_a_disc(degrees: float) -> None:
    # 100 x 20 around (500, 500): along the text 50 pixels reach its end, across it 10 its edge.
    turn = radians(degrees)
    forward, upward = np.array([cos(turn), sin(turn)]), np.array([-sin(turn), cos(turn)])
    middle = np.array([500.0, 500.0])
    for ahead, above, near in ((50 + 6, 0, 5), (-50 - 6, 0, 5), (0, 10 + 6, 5), (30, -10 - 6, 5), (50 + 3, 10 + 4, 4)):
        x, y = middle + ahead * forward + above * upward
        assert canvas((x, y, near - 0.01)).is_free(middle, (forward, upward), (100, 20))
        assert not canvas((x, y, near + 0.01)).is_free(middle, (forward, upward), (100, 20))


def test_the_nearest_point_of_a_box() -> None:
    box = Box(10, 20, 30, 40)
    assert anchor(box, 0, 0) == (10, 20)
    assert anchor(box, 50, 30) == (30, 30)
    assert anchor(box, 15, 90) == (15, 40)
    assert anchor(box, 12, 22) == (12, 22)


def test_a_text_stands_at_the_far_end_of_its_line_four_pixels_above() -> None:
    # Along a level line from 100 to 500: 60 wide, so that its middle is 34 before the end; 4 + 6 above.
    found = along((100, 300), (500, 300), (60, 12), canvas())
    assert found is not None
    assert (found.x, found.y, found.angle) == pytest.approx((466, 310, 0))
    # 60 / 12: five boxes of its height and two more, end to end.
    assert len(found.boxes) == 5
    assert [(box.left + box.right) / 2 for box in found.boxes] == pytest.approx([436, 451, 466, 481, 496])
    assert {(round(box.bottom, 6), round(box.top, 6)) for box in found.boxes} == {(303, 317)}
    assert {round(box.right - box.left, 6) for box in found.boxes} == {14}


def test_a_text_along_a_line_moves_back_before_it_moves_up() -> None:
    # A disc where it would stand: it moves towards the start by 33rds of the way, and up where there is none.
    found = along((100, 300), (500, 300), (60, 12), canvas((480.0, 310.0, 5.0)))
    assert found is not None
    assert found.y == pytest.approx(310)
    assert found.x + 30 <= 480 - 6
    first, last = 100 + 34, 500 - 34
    places = np.linspace(last, first, 33)
    assert np.abs(places - found.x).min() < 1e-9
    row = [(float(x), 310.0, 5.0) for x in range(100, 520, 10)]
    raised = along((100, 300), (500, 300), (60, 12), canvas(*row))
    assert raised is not None
    # From 310 +- 6 up: 316 is the lowest free edge; of the heights above the line 22 is the first beyond.
    assert raised.y == pytest.approx(300 + 22 + 6)
    assert along((100, 300), (500, 300), (60, 12), canvas(frame=Box(0, 0, 10, 10))) is None


def test_a_text_along_a_slope_is_turned_with_it() -> None:
    found = along((100, 100), (400, 400), (60, 12), canvas())
    assert found is not None
    assert found.angle == pytest.approx(pi / 4)
    length = hypot(300, 300)
    ahead, above = length - 34, 10
    assert found.x == pytest.approx(100 + (ahead - above) / 2**0.5)
    assert found.y == pytest.approx(100 + (ahead + above) / 2**0.5)


def test_a_line_shorter_than_its_text_has_it_in_one_place() -> None:
    found = along((100, 300), (150, 300), (60, 12), canvas())
    assert found is not None
    assert found.x == pytest.approx(100 + 50 - 34)
    assert len(along((100, 300), (150, 300), (10, 40), canvas()).boxes) == 2  # type: ignore[union-attr]


@given(
    x=st.floats(100, 900),
    y=st.floats(100, 900),
    radius=st.floats(0, 30),
    width=st.floats(5, 80),
    others=st.lists(st.tuples(st.floats(0, 900), st.floats(0, 900)), max_size=8),
)
def test_no_label_hides_what_stands(
    x: float, y: float, radius: float, width: float, others: list[tuple[float, float]]
) -> None:
    boxes = tuple(Box(left, bottom, left + 50, bottom + 50) for left, bottom in others)
    (box,) = canvas((x, y, radius), boxes=boxes).place([Label(x, y, radius, width, 12.0)])
    if box is not None:
        assert not any(box.overlaps(other, 3.99) for other in boxes)
        end = anchor(box, x, y)
        assert hypot(end[0] - x, end[1] - y) >= radius
        assert 0 <= box.left < box.right <= 1000
        assert 0 <= box.bottom < box.top <= 1000
