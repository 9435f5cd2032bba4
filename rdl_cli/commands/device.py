"""Choose the device of a command, and configure its backend."""

import ctypes
import platform

import torch

from rdl_cli.core.errors import UserError, unknown_name

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""From glibc's malloc.h."""


def resolve_device(name: str) -> str:
    """Return `cpu` or `cuda`; `auto` is the faster one of this machine.

    Raise UserError if the machine does not have the device, and for `mps`.
    """
    if name == "mps":
        raise UserError(
            "the device `mps` has no float64, which sums of distances and kernels need",
            hint="use --device cpu",
        )
    available = {"cpu": True, "cuda": torch.cuda.is_available()}
    if name == "auto":
        return "cuda" if available["cuda"] else "cpu"
    if name == "gpu":
        raise UserError("there is no device `gpu`", hint="use --device cuda, or auto")
    if name not in available:
        raise unknown_name("device", name, ["auto", *available])
    if not available[name]:
        raise UserError(
            f"this machine has no device `{name}` that torch {torch.__version__} can use",
            hint="use --device cpu",
        )
    return name


def configure_backend(device: torch.device | str) -> None:
    """Make a GPU exact and repeatable (no TF32, which rounds to ten bits), and a CPU fast."""
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    keep_freed_memory(device)


def keep_freed_memory(device: torch.device | str) -> bool:
    """Make glibc keep freed memory; return False where nothing is changed (GPU, no glibc).

    By default, glibc returns blocks above 32 MiB to the system after every use, and the next step
    requests them page by page. `nin` on CIFAR-10 spent a third of its time in the kernel: 74 s
    became 51 s, for the same bits and a fifth more memory. Pearson's r of two RDMs of 5,000 stimuli
    took 1.7 s of one processor and now takes 0.26.
    """
    if torch.device(device).type != "cpu" or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1))  # -1: never
