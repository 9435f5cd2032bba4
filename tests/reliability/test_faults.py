"""Kills and failing calls: nothing is lost, half-written, left over or different after a re-run.

The full runs are in docs/reliability.md; here every command meets a sample of them.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("harness.py")
SCENARIOS = ("export-activations", "export-rdm", "export-kernel", "import", "train")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or shutil.which("cc") is None,
        reason="the faults need LD_PRELOAD and a C compiler",
    ),
]


@pytest.mark.parametrize("mode", ["kill", "nospace", "ioerror"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_command_survives_a_fault_at_any_call(scenario, mode):
    result = subprocess.run(
        [sys.executable, HARNESS, scenario, mode, "7"], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
