"""The benchmark of serving, as a test of sixteen clients; it takes a minute."""

import json

import pytest

from benchmarks import serving


@pytest.mark.slow
@pytest.mark.long
def test_sixteen_clients_without_an_error(capsys):
    """An error of any call would end it."""
    assert serving.main(["--quick"]) == 0
    load, first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert load["parity"] and load["calls"] > 100
    assert first["parity"]
