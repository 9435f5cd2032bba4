"""Which device a person means, and how its memory is to be kept."""

import ctypes
import platform

import torch

from rdl_cli.core.errors import UserError, unknown_name

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""From glibc's malloc.h."""


def resolve_device(asked: str) -> str:
    """`cpu` or `cuda`; `auto` is the faster that there is. UserError for one that this machine does not have, and for `mps`."""
    if asked == "mps":
        raise UserError(
            "the device `mps` has no float64, in which distances and kernels are summed",
            hint="say --device cpu",
        )
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    if asked == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if asked not in there:
        raise unknown_name("device", asked, ["auto", *there])
    if not there[asked]:
        raise UserError(
            f"this machine has no device `{asked}` that torch {torch.__version__} can use",
            hint="say --device cpu",
        )
    return asked


def configure_backend(device: torch.device | str) -> None:
    """Let work on the device be exact and repeatable on a GPU, where cuDNN would round to ten bits, and quick on a CPU."""
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    keep_freed_memory(device)


def keep_freed_memory(device: torch.device | str) -> bool:
    """Whether glibc was told to keep what is freed; it is where work is on the CPU of a Linux with glibc.

    glibc gives blocks above 32 MiB back to the system after every use, and the next step asks for them anew, page by page:
    `nin` on CIFAR-10 spent a third of its time in the kernel, 74 s became 51 s, for the same bits and a fifth more memory; Pearson's r of
    two RDMs of 5,000 stimuli took 1.7 s of one processor and takes 0.26.
    """
    if torch.device(device).type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1))  # -1: never
