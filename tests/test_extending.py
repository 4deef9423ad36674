"""The recipes of docs/extending.md, followed to the letter in a copy of the project: its own tests pass with them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.catalog import parse_yaml

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
CODE = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with every recipe followed: files where the guide says that they go."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("simulator", "hardware_profiles", "workloads", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for block in BLOCKS:
        content = parse_yaml(block, "recipe")
        kind = content.get("kind")
        kinds = {None: "workloads", "framework": "hardware_profiles/frameworks", "engine": "hardware_profiles/engines"}
        place = kinds.get(kind, "hardware_profiles/devices")
        (folder / place / f"{content['name']}.yaml").write_text(block, encoding="utf-8")
    (folder / "simulator" / "workload" / "families" / "plain.py").write_text(CODE[0], encoding="utf-8")
    text = "name: nine\nfamily: plain\ndepth: 3\ninput: [3, 32, 32]\ndataset: cifar10\ndescription: d\nsource: s\n"
    (folder / "workloads" / "nine.yaml").write_text(text, encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_there_are_recipes() -> None:
    assert len(BLOCKS) >= 5
    assert len(CODE) == 1


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("tests/device", "my-gpu or pytorch-channels-last-2023 or our-fork"),
        ("tests/serving/test_answer.py", "our-fork"),
        ("tests/workload/test_reading.py", "my_lenet or tiny_resnet or my_senet or nine"),
    ],
)
def test_the_projects_tests_pass_with_what_was_added(copy: Path, tests: str, names: str) -> None:
    said = run(copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, "-k", names)
    assert re.search(r"[1-9]\d* passed", said)


def test_what_was_added_is_simulated(copy: Path) -> None:
    start = ("-c", "from simulator.cli import main; main()")
    for workload in ("my_lenet", "tiny_resnet", "my_senet", "nine"):
        said = run(copy, *start, "--workload", workload, "--device", "my-gpu", "--batch", "4", "--no-report")
        assert "on my-gpu" in said
