"""Query strings are as strict as bodies: a misspelt `?dryrun=true` must not submit a job."""

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from app.errors import BadRequest

_LISTS = frozenset({"label", "series"})
"""Parameters that may come several times."""


async def _refuse_unknown(request: Request) -> None:
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    known = {field.alias for field in route.dependant.query_params}
    if not known.issuperset(request.query_params):
        names = ", ".join(f"`{name}`" for name in sorted(known)) or "none"
        raise BadRequest(
            "unknown_parameter", f"the query names a parameter that this path does not know; it knows {names}"
        )
    names_given = [name for name, _ in request.query_params.multi_items() if name not in _LISTS]
    if len(set(names_given)) != len(names_given):
        raise BadRequest("doubled_parameter", "the query names a parameter twice: which one counts is anyone's guess")


CheckedQuery = Depends(_refuse_unknown)
