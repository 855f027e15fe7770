"""Mean and standard deviation of values that come in batches, without cancellation."""

import numpy as np
from jaxtyping import Float


class Running:
    """Mean, standard deviation (ddof = 1) and count over the first dimension of everything added.

    Batches are joined in float64 by Chan et al.'s update (1979, eq. 2.1): means far from zero lose nothing.

    >>> seen = Running()
    >>> seen.add(np.array([1.0, 2.0]))
    >>> seen.add(np.array([6.0]))
    >>> float(seen.mean), round(float(seen.std), 4), seen.n
    (3.0, 2.6458, 3)
    """

    def __init__(self):
        self.n = 0
        self.mean: np.ndarray = np.zeros(())
        self._squares: np.ndarray = np.zeros(())

    def add(self, values: Float[np.ndarray, "n ..."]) -> None:
        """Take in a batch of values, one per example."""
        values = values.astype(np.float64)
        n = len(values)
        mean = values.mean(0)
        apart = mean - self.mean
        total = self.n + n
        self._squares = self._squares + ((values - mean) ** 2).sum(0) + apart**2 * (self.n * n / total)
        self.mean = self.mean + apart * (n / total)
        self.n = total

    @property
    def std(self) -> Float[np.ndarray, "..."]:
        """Standard deviation with ddof = 1; NaN for a single value."""
        if self.n < 2:
            return np.full_like(self.mean, np.nan)
        return np.asarray(np.sqrt(self._squares / (self.n - 1)))
