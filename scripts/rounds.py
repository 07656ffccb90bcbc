"""What measurements in rounds say: medians, ratios of medians, and how far other rounds might have been from them.

A module, not a program; found as `real_envoy` is.
"""

import random
import statistics


def median_interval(values):
    """The median and its 95 % interval by order statistics (binomial, no assumption about the shape)."""
    ordered = sorted(values)
    n = len(ordered)
    # The widest k with P(Binomial(n, 1/2) < k) <= 2.5 %.
    total, k = 0.0, 0
    probability = 0.5 ** n
    while total + probability <= 0.025 and k < n // 2:
        total += probability
        probability = probability * (n - k) / (k + 1)
        k += 1
    low = max(k - 1, 0)
    return statistics.median(ordered), ordered[low], ordered[n - 1 - low]


def ratio_interval(over, below, draws=2000):
    """Ratio of the medians of all values and its 95 % interval, by resampling whole rounds; each round is a list of values."""
    shuffler = random.Random(1)
    rounds = list(zip(over, below))

    def ratio(sample):
        divisor = statistics.median(value for _, values in sample for value in values)
        return statistics.median(value for values, _ in sample for value in values) / divisor if divisor > 0 else float("inf")

    ratios = sorted(ratio(shuffler.choices(rounds, k=len(rounds))) for _ in range(draws))
    return ratio(rounds), ratios[int(draws * 0.025)], ratios[int(draws * 0.975)]
