"""The helper by which tests wait: patient with what works, done with what has ended or hangs."""

import subprocess
import sys

import pytest
import waiting
from waiting import output_of, processor_s, wait_until


def python(code):
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_what_works_is_waited_for_and_what_hangs_or_ends_is_not(monkeypatch, tmp_path):
    monkeypatch.setattr(waiting, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(waiting, "IDLE_S", 0.3)
    busy = python(
        f"import time\nwhile time.process_time() < 1.5: pass\nopen({str(tmp_path / 'done')!r}, 'w')\ntime.sleep(1000)"
    )
    wait_until((tmp_path / "done").exists, busy)  # longer than it may be idle
    with pytest.raises(AssertionError, match="has done nothing"):
        wait_until(lambda: False, busy)
    busy.kill()
    busy.wait()
    with pytest.raises(AssertionError, match="ended with -9"):
        wait_until(lambda: False, busy)
    monkeypatch.setattr(waiting, "FAR_OFF_S", 0.2)
    with pytest.raises(AssertionError, match="in vain"):
        wait_until(lambda: False)


def test_children_count_and_output_is_kept(monkeypatch):
    monkeypatch.setattr(waiting, "_LOOK_EVERY_S", 0.05)
    child = "import time\nwhile time.process_time() < 0.6: pass"
    run = f"subprocess.run([sys.executable, '-c', {child!r}])"
    parent = python(f"import subprocess, sys\nprint('begun', flush=True)\n{run}")
    wait_until(lambda: processor_s(parent.pid) > 0.4, parent)
    assert output_of(parent)[0] == "begun\n"
