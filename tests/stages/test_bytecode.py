"""Where `PYTHONDONTWRITEBYTECODE` is set, as in containers, starts of the command still compile once only."""

import os
import subprocess
import sys


def test_the_command_writes_bytecode(tmp_path):
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    code = "import sys; sys.argv = ['hearonce', '--version']; from stages.command_line import main; main()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.pyc")}
    assert any("/typer/main." in path for path in written)
    assert any("/pipeline/monitor/signals." in path for path in written)
