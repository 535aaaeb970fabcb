import pytest

from landscape import doctor, xla_flags
from landscape.doctor import Examination, Outcome

CONFIGURATION = {
    "landscape": "0.1.0", "jaxlib": "0.10.2", "platform": "cpu", "device": "cpu",
    "processor": "of the test", "flags": [], "x64": False,
}  # fmt: skip


def outcome(verdict, error, note=""):
    return Outcome("rows", "sums", "NumPy", "set the flag", error, 1e-4, verdict, note)


@pytest.mark.parametrize(
    ("verdict", "error", "status"), [("passed", 1e-7, 0), ("failed", 0.008, 1)]
)
def test_its_exit_status_says_whether_all_is_well(call, monkeypatch, verdict, error, status):
    found = Examination(CONFIGURATION, True, [outcome(verdict, error)], {})
    monkeypatch.setattr(doctor, "examine", lambda progress: found)
    told, data, _ = call("doctor")
    assert told == status
    assert data["passed"] == (status == 0)
    assert data["checks"][0]["error"] == error
    assert data["configuration"]["processor"] == "of the test"
    assert data["advice"][:1] == (["wrong: rows: set the flag"] if status else data["advice"][:1])


def test_people_read_what_is_wrong_and_what_to_do(capsys, monkeypatch):
    from landscape.cli import main

    checks = [outcome("failed", float("inf"), "the process ended with SIGSEGV")]
    found = Examination(CONFIGURATION, True, checks, {})
    monkeypatch.setattr(doctor, "examine", lambda progress: found)
    assert main(["doctor", "--quiet"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "rows (the process ended with SIGSEGV): set the flag" in shown
    assert "inf" in shown


def test_a_backend_that_does_not_start_is_a_wrong_request(call, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag=1")
    status, _, err = call("doctor")
    assert status == 2
    assert "JAX does not start" in err
    assert "look at XLA_FLAGS" in err


@pytest.mark.slow
def test_all_is_well_here(call):
    status, data, _ = call("doctor")
    assert status == 0, data["advice"]
    assert data["known_bad"] == xla_flags.is_known_bad()
    assert {check["verdict"] for check in data["checks"]} == {"passed"}
