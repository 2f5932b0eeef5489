"""What would decide a verdict that is open: more repeats, or more test rows."""

from pydantic import Field

from app.contracts.base import Answer


class WouldSettle(Answer):
    """Repeats or test rows with which an interval would exclude 0 in 80 % of cases, if the difference is `size`."""

    size: float = Field(
        description="Size of the difference: that which was found, or the margin where it is larger. In the unit of "
        "`difference`."
    )
    repeats: int | None = Field(
        default=None,
        description="Number of repeats, at the present number of test rows; null where no number that a job may have "
        "is enough, and for a single pair.",
    )
    rows: int | None = Field(
        default=None,
        description="Number of labelled test rows, with the present networks; null where no number up to 10 million "
        "is enough.",
    )
    because: str = Field(description="What the figures were estimated from, and why one of them is null.")
