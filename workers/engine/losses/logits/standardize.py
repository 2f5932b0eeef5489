"""Logit standardisation (Sun, Ren, Li, Wang, Cao 2024, "Logit standardization in knowledge distillation").

    z' = (z − mean(z)) / std(z)    a row; student and teacher both, before they are softened

The student then learns the teacher's relations between logits without having to match their scale. `std` divides by
C − 1, as the authors' code does (torch's default); the paper divides by C, which is another temperature: τ·√(C/(C−1)).
Their ε of 1e-7 multiplies the gradient of a constant row by 1e7; here such a row becomes zeros, see `units`.

With two classes z' is (±1/√2, ∓1/√2) whatever the logits were: only the sign is left, and the gradient is 0.
"""

from math import sqrt

from torch import Tensor

from workers.engine.losses.softmax import widened
from workers.engine.losses.unit_vectors import unit_deviations


def standardized(scores: Tensor) -> Tensor:
    """Logits, or log-probabilities, [N, C] -> [N, C] with mean 0 and standard deviation 1 a row."""
    return unit_deviations(widened(scores)) * sqrt(scores.shape[-1] - 1)
