"""Randomness is asked for by purpose, so adding a stream moves no other and nothing random is saved in a checkpoint."""

import hashlib

import torch


class Seeds:
    """Named streams of one seed: `torch.randperm(n, generator=seeds("shuffle", epoch))`."""

    def __init__(self, seed: int):
        self.seed = seed

    def number(self, purpose: str, *when: int | str) -> int:
        """A 63-bit seed of its own for every purpose and time."""
        words = "\x1f".join(map(str, (self.seed, purpose, *when)))
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1

    def __call__(self, purpose: str, *when: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(self.number(purpose, *when))

    def fix(self, purpose: str, *when: int | str) -> None:
        """Seed the global generator, for code that takes no generator (dropout, initialisation); the only place that does."""
        torch.manual_seed(self.number(purpose, *when))
