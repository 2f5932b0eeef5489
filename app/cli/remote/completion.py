"""Completion of ids in a shell: the newest jobs and models of the service. Without a service there are none."""

from collections.abc import Callable

_NEWEST = 50
_SECONDS = 2.0


def _ids(kind: str) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        from stillhouse import Client
        from stillhouse.errors import StillhouseError

        try:
            with Client(timeout=_SECONDS, retries=0) as client:
                listed = client.jobs if kind == "jobs" else client.models
                ids = [each.id for each in listed.list(limit=_NEWEST)]
        except StillhouseError:
            return []
        return [each for each in ids if each.startswith(incomplete)]

    return complete


complete_job = _ids("jobs")
complete_model = _ids("models")
