"""How the losses of several tasks become one update: the balancers by name, and their settings.

Loss methods weigh the losses of trunk and heads alike. Gradient methods combine the tasks' gradients on shared
parameters; each head has the gradient of its own weighted loss.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.base import Contract


class FixedBalancing(Contract):
    """The literal weighted sum of the objectives."""

    method: Literal["fixed"]


class PcgradBalancing(Contract):
    """Projecting conflicting gradients (Yu 2020) on the shared parameters."""

    method: Literal["pcgrad"]


Balancing = Annotated[FixedBalancing | PcgradBalancing, Field(discriminator="method")]
