"""What a built wheel, an editable install and a source archive hold."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA_FOLDERS = ("hardware_profiles", "workloads")
DIST_INFO = "roofline_simulator-"


def build(target: str, folder: Path) -> Path:
    """The one file that the build back end makes."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheel_files(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def test_wheel_installs_one_package_and_nothing_else(wheel_files: list[str]) -> None:
    top = {name.split("/")[0] for name in wheel_files}
    dist_info = {name for name in top if name.startswith(DIST_INFO) and name.endswith(".dist-info")}
    assert len(dist_info) == 1
    assert top - dist_info == {"simulator"}


def test_wheel_holds_every_module_of_the_package(wheel_files: list[str]) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "simulator").rglob("*.py")}
    assert modules
    assert modules <= set(wheel_files)
    assert "simulator/py.typed" in wheel_files


@pytest.mark.parametrize("folder", DATA_FOLDERS)
def test_wheel_holds_every_data_file_inside_the_package(folder: str, wheel_files: list[str]) -> None:
    ours = {f"simulator/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / folder).rglob("*.yaml")}
    assert ours
    assert ours <= set(wheel_files)


def test_wheel_holds_the_data_that_the_readme_names(wheel_files: list[str]) -> None:
    assert "simulator/hardware_profiles/devices/v100-pcie-16gb.yaml" in wheel_files
    assert any(name.startswith("simulator/hardware_profiles/families/") for name in wheel_files)
    assert "simulator/workloads/senet154.yaml" in wheel_files


def test_wheel_leaves_out_what_is_not_the_program(wheel_files: list[str]) -> None:
    strangers = {"tests", "reports", "docs", "__pycache__", "shared"}
    assert not [name for name in wheel_files if strangers & set(name.split("/"))]


def test_wheel_states_its_license_and_its_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            name.split("/", 1)[1]: archive.read(name).decode()
            for name in archive.namelist()
            if name.startswith(DIST_INFO)
        }
    assert "simulate = simulator.cli:start" in texts["entry_points.txt"]
    assert "License-Expression: Apache-2.0" in texts["METADATA"].splitlines()
    assert texts["licenses/LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_an_unpacked_wheel_finds_its_own_data(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from simulator import catalog; print(catalog.find('hardware_profiles/devices', 'v100-pcie-16gb'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path.parent,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path / "simulator" / "hardware_profiles" / "devices")


def test_editable_install_points_at_the_checkout_and_copies_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel:editable", tmp_path)) as archive:
        (path_file,) = [name for name in archive.namelist() if not name.startswith(DIST_INFO)]
        assert path_file.endswith(".pth")
        assert Path(archive.read(path_file).decode().strip()) == ROOT


def test_source_archive_holds_the_tests_and_the_data(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "LICENSE", "CHANGELOG.md", "tests/test_packaging.py", "simulator/units.py"} <= names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} <= names
    assert "hardware_profiles/devices/v100-pcie-16gb.yaml" in names
    assert not [name for name in names if name.startswith(("reports/", ".venv"))]
