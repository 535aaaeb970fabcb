"""A number estimated from independent random samples, with its uncertainty."""

from dataclasses import dataclass

import numpy as np
import scipy.stats


@dataclass(frozen=True)
class Estimate:
    """A mean of independent samples.

    Attributes
    ----------
    estimate
        The mean.
    standard_error
        Standard deviation of the mean, from the samples' spread; infinite for a single sample.
    probes
        Number of samples.
    """

    estimate: float
    standard_error: float
    probes: int

    @classmethod
    def of(cls, samples: np.ndarray) -> "Estimate":
        """From samples (probes,)."""
        samples = np.asarray(samples, np.float64)
        count = len(samples)
        error = float(np.std(samples, ddof=1) / np.sqrt(count)) if count > 1 else np.inf
        return cls(float(np.mean(samples)), error, count)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Student's interval around the estimate."""
        if self.probes < 2:
            return -np.inf, np.inf
        reach = scipy.stats.t.ppf((1 + confidence) / 2, self.probes - 1) * self.standard_error
        return self.estimate - reach, self.estimate + reach

    def root(self) -> "Estimate":
        """The square root, its error by the delta method."""
        value = float(np.sqrt(max(self.estimate, 0.0)))
        error = self.standard_error / (2 * value) if value else self.standard_error
        return Estimate(value, error, self.probes)
