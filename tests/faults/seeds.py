"""Which faults the tests inject: `STILLHOUSE_FAULT_SEED` chooses them, and the campaign goes through many."""

import os

SEED = int(os.environ.get("STILLHOUSE_FAULT_SEED", "0"))
