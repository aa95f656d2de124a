"""TLS and DNS over real sockets: who is believed and who is not, and what names lead to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process


def test_tls_accepts_only_the_right_name_from_a_trusted_authority_and_dns_is_understood(
    tmp_path: Path,
) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.platform.tls_loopback", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout)
    assert outcomes == {
        "a good name": "echoed hello",
        "a good address": "echoed hello",
        "another name": "refused: VerificationError",
        "another address": "refused: VerificationError",
        "an unknown authority": "refused: Error",
        "localhost leads to": ["127.0.0.1", "::1"],
        "A and AAAA": ["192.0.2.1", "192.0.2.2", "2001:db8::1"],
        "A alone": ["192.0.2.4"],
        "no addresses": [],
        "SRV": ["SrvRecord(priority=10, weight=5, port=8443, target='target.two.test')"],
        "no SRV": [],
    }
