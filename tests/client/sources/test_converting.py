"""What other libraries raise about the data of a caller, and what is no fault of the data."""

import pyarrow
import pytest
from stillhouse import Unreadable
from stillhouse.sources.converting import reading


@pytest.mark.parametrize("error", [pyarrow.ArrowCapacityError("full"), pyarrow.ArrowInvalid("odd"), KeyError("x")])
def test_errors_about_data_say_what_could_not_be_converted(error: Exception) -> None:
    with pytest.raises(Unreadable, match="expected the column to hold what an upload can carry"), reading("the column"):
        raise error


@pytest.mark.parametrize("error", [MemoryError(), pyarrow.ArrowMemoryError("full"), OSError("no disk")])
def test_what_is_no_fault_of_the_data_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)), reading("the column"):
        raise error
