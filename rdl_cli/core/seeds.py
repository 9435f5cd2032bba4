"""Request random numbers by purpose: a new stream changes no other, and no state is saved."""

import hashlib
import random

import numpy as np
import torch


class Seeds:
    """Named streams of one seed: `torch.randperm(n, generator=seeds("shuffle", epoch))`."""

    def __init__(self, seed: int):
        self.seed = seed

    def number(self, purpose: str, *when: int | str) -> int:
        """Return a 63-bit seed that is different for every purpose and time."""
        words = "\x1f".join(map(str, (self.seed, purpose, *when)))
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1

    def __call__(self, purpose: str, *when: int | str) -> torch.Generator:
        """Return a new generator for a purpose and time."""
        return torch.Generator().manual_seed(self.number(purpose, *when))

    def seed_global(self, purpose: str, *when: int | str) -> None:
        """Seed the global generators, for code that takes none: dropout, initialisation, users'.

        Nothing else touches them.
        """
        number = self.number(purpose, *when)
        torch.manual_seed(number)
        np.random.seed(number % 2**32)  # noqa: NPY002
        random.seed(number)
