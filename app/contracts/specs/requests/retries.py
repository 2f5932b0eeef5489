"""The body of `POST /v1/jobs/{id}/retry`."""

from pydantic import Field, TypeAdapter

from app.contracts.base import Contract


class RetryRequest(Contract):
    """How a failed or cancelled job is retried. Its spec stays the same; for another spec submit a new job."""

    from_checkpoint: bool = Field(
        default=False,
        description="Continue from the old job's newest checkpoint, on the resolved spec that belongs to it, instead "
        "of from the start.",
    )


RETRY_REQUEST: TypeAdapter[RetryRequest] = TypeAdapter(RetryRequest)
