"""What somebody before a terminal sees, and what a reader of a pipe does not."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
from typing import Any

from tests.integration.cli.conftest import COMMAND, Shell


def _in_terminal(shell: Shell, *words: str) -> tuple[str, str]:
    """Run a command whose stderr is a terminal of 100 columns; what it printed on stdout, and on the terminal."""
    own, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with subprocess.Popen(
        [COMMAND, *words], env=shell.environment, cwd=shell.folder, stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as running:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(own, 4096):
                shown += piece
        except OSError:  # the terminal is closed: the command has ended
            pass
        assert running.stdout is not None
        printed = running.stdout.read()
    os.close(own)
    assert running.returncode == 0, shown
    return printed, shown.decode()


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(shell: Shell, spec: dict[str, Any]) -> None:
    printed, shown = _in_terminal(shell, "submit", shell.write("spec.json", spec), "--wait")
    job = printed.split()[0]
    assert printed == f"{job} succeeded, its student is {printed.split()[-1]}\n"
    assert f"{job} queued" in shown
    assert "train teacher: 100%|" in shown
    assert "succeeded" in shown

    piped = shell("watch", job)
    assert "%|" not in piped.err
    assert "\r" not in piped.err
    assert piped.out == printed
