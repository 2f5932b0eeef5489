"""What the demo shows: headings, commands, one live progress line."""

import shutil
import sys
import time
from typing import Any

_LIVE = sys.stdout.isatty()


def say(text: str = "") -> None:
    """One line, at once."""
    print(text, flush=True)


def heading(text: str) -> None:
    """A step of the demo."""
    say(f"\n\033[1m{text}\033[0m" if _LIVE else f"\n## {text}")


def show_command(words: list[str]) -> None:
    """A curl command as one would type it, a backslash before each option's line."""
    lines: list[str] = []
    for word in words:
        shown = word if word.replace("-", "").isalnum() or word.startswith("http") else f"'{word}'"
        if word.startswith(("-", "http")):
            lines.append(shown)
        elif lines:
            lines[-1] += f" {shown}"
        else:
            lines.append(shown)
    say("  $ " + " \\\n      ".join(lines))


class ProgressLine:
    """`[#####-----] 52% training epoch 8/15 12 400 rows/s, 9 s left`: rewritten in place on a terminal, once
    every few seconds elsewhere.
    """

    def __init__(self) -> None:
        self._last = 0.0

    def update(self, job: dict[str, Any]) -> None:
        """Show where a job (the service's JSON) stands."""
        now = time.monotonic()
        if not _LIVE and now - self._last < 5.0:
            return
        self._last = now
        text = describe(job)
        if _LIVE:
            width = shutil.get_terminal_size().columns
            print("\r" + text[: width - 1].ljust(width - 1), end="", flush=True)
        else:
            say("  " + text)

    def end(self, job: dict[str, Any]) -> None:
        """The last line stays."""
        self._last = 0.0
        self.update(job)
        if _LIVE:
            say()


def describe(job: dict[str, Any]) -> str:
    """A job's progress in one line."""
    progress = job.get("progress") or {}
    percent = float(progress.get("percent") or 0.0)
    if job["state"] == "succeeded":
        percent = 100.0
    done = int(percent / 5)
    parts = [f"[{'#' * done}{'-' * (20 - done)}] {percent:3.0f} %", job["state"]]
    if progress.get("phase"):
        parts.append(progress["phase"])
    if progress.get("epochs"):
        parts.append(f"epoch {progress['epoch']}/{progress['epochs']}")
    if progress.get("samples_per_second"):
        parts.append(f"{progress['samples_per_second']:,.0f} rows/s")
    if progress.get("eta_seconds") is not None and job["state"] == "running":
        parts.append(f"{progress['eta_seconds']:.0f} s left")
    return "  ".join(parts)


def student_verdicts(report: dict[str, Any], least_smaller: float) -> list[tuple[str, bool]]:
    """What every demo promises of its student: size and verdict, each with whether it held."""
    smaller, verdict = report["compression"]["parameters"], report["verdict"]["few"]
    return [
        (f"the student is {smaller:.1f} times smaller (at least {least_smaller:.0f})", smaller >= least_smaller),
        (f"the verdict is `{verdict['verdict']}`, interval {verdict['interval']}", verdict["verdict"] == "gain"),
    ]


def conclude(held: list[tuple[str, bool]]) -> int:
    """Print what a demo promised and whether it held; 0 if all of it did."""
    for text, good in held:
        say(f"  {'yes' if good else 'NO '}  {text}")
    return 0 if all(good for _, good in held) else 1
