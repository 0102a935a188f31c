"""A callback that computes: how many primes there are below a number."""

import math

from taskmaster import Job


def count(job: Job) -> None:
    below = job.payload["below"]
    found = 0
    for number in range(2, below):
        if all(number % divisor for divisor in range(2, math.isqrt(number) + 1)):
            found += 1
        if number % 1000 == 0:
            job.progress(number / below, f"{found} primes below {number}")
    print(f"{found} primes below {below}")
