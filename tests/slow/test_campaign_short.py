"""The campaign in a minute or two; `just campaign` runs it for longer."""

import subprocess
import sys

from tests.conftest import ROOT
from tools.campaign.parts import PARTS

ELSEWHERE = {"killed-training", "killed-servers", "served"}  # test_kills.py, test_server_*.py


def test_nothing_is_lost_and_nothing_fails():
    done = subprocess.run(
        [sys.executable, "-m", "tools.campaign", *(PARTS.keys() - ELSEWHERE), "--minutes=0.5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
