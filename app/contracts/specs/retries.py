"""What `POST /v1/jobs/{id}/retry` takes."""

from pydantic import Field, TypeAdapter

from app.contracts.base import Contract


class RetryRequest(Contract):
    """How a job that failed or was cancelled is tried again. Its spec stays as it is: another one is another job."""

    from_checkpoint: bool = Field(
        default=False,
        description="Continue from the old job's newest checkpoint, on the resolved spec that belongs to it, instead "
        "of from the start.",
    )


RETRY_REQUEST: TypeAdapter[RetryRequest] = TypeAdapter(RetryRequest)
