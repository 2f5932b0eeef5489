"""What `POST /v1/jobs/{id}/retry` takes."""

from pydantic import Field, TypeAdapter

from app.contracts.base import Contract


class RetryRequest(Contract):
    """How a job that failed or was cancelled is tried again. Its spec stays as it is: another one is another job."""

    from_checkpoint: bool = Field(
        default=False,
        description="Go on from the old job's newest checkpoint, on the spec frozen with it, instead of anew.",
    )


RETRY_REQUEST: TypeAdapter[RetryRequest] = TypeAdapter(RetryRequest)
