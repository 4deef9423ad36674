"""What a shell completes, through bash itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """#!{python}
import sys
sys.path.insert(0, {root!r})
from simulator.cli import main
main(prog_name="simulate")
"""
SCRIPT = """
eval "$(_SIMULATE_COMPLETE=bash_source simulate)"
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_simulate_completion simulate
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("simulate --device v100-s", ["v100-sxm2-16gb", "v100-sxm2-32gb", "v100-sxm3-32gb"]),
        ("simulate --workload resnet15", ["resnet152", "resnet152_v1"]),
        ("simulate sweep --device t4,v100-p", ["t4,v100-pcie-16gb", "t4,v100-pcie-32gb"]),
        ("simulate --precision tf", ["tf32"]),
        ("simulate explain --framework tensorflow-x", ["tensorflow-xla"]),
        ("simulate layers mobilenet_v2", ["mobilenet_v2"]),
        ("simulate va", ["validate"]),
    ],
)
def test_bash_completes_names(words: str, found: list[str], tmp_path: Path) -> None:
    program = tmp_path / "simulate"
    program.write_text(PROGRAM.format(python=sys.executable, root=str(ROOT)), encoding="utf-8")
    program.chmod(0o755)
    where = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "-c", SCRIPT.format(words=words)]
    done = subprocess.run(command, env=where, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == found, done.stderr
