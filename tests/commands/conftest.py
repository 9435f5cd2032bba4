"""A synthetic brain whose geometry is known, and a student that follows it."""

from types import SimpleNamespace

import numpy as np
import pytest

N_STIMULI = 40


@pytest.fixture(scope="session")
def synthetic_brain():
    """Return functions and values of a brain that responds to the brightness of the left half."""
    torch = pytest.importorskip("torch")
    from rdl_cli.datasets.digests import image_digests
    from rdl_cli.rsa.condensed import condensed_pairs
    from rdl_cli.rsa.distances import sqeuclidean
    from rdl_cli.store.layout import RdmSpec
    from rdl_cli.store.store import Stimuli
    from rdl_cli.store.writer import create_store

    rng = torch.Generator().manual_seed(0)
    brightness = torch.rand(N_STIMULI, 2, generator=rng)
    noise = torch.rand(N_STIMULI, 1, 20, 20, generator=rng)
    halves = brightness.repeat_interleave(10, dim=1)[:, None, None, :]
    images = (noise * 60 + 190 * halves).to(torch.uint8)
    left = brightness[:, :1].double()
    rdm = sqeuclidean(left, left)[condensed_pairs(N_STIMULI)].sqrt().numpy()
    subject_rdms = rdm + np.random.default_rng(0).normal(size=(5, len(rdm))) * rdm.std()

    def write(path, regions, labels=None, images=images):
        """Write a store of RDMs (subjects, pairs) by region."""
        names = np.array([f"stimulus {k}" for k in range(len(images))])
        stimuli = Stimuli(image_digests(images), names, labels, images.numpy())
        specs = []
        for name, rdms in regions.items():
            subjects = tuple(f"s{k}" for k in range(len(rdms))) if len(rdms) > 1 else ()
            specs.append(RdmSpec(name, len(rdms), "float64", "correlation", subjects=subjects))
        with create_store(path, stimuli, {"parents": []}, specs, "test") as writer:
            for name, rdms in regions.items():
                for k, values in enumerate(np.asarray(rdms)):
                    writer.write_rdm(name, k, 0, values)
        return path

    return SimpleNamespace(
        n=N_STIMULI, images=images, rdm=rdm, subject_rdms=subject_rdms, write=write
    )


@pytest.fixture(scope="session")
def brain_store(synthetic_brain, tmp_path_factory):
    """Return a store of one subject, `V4`, and of five noisy ones, `IT`; two categories."""
    return synthetic_brain.write(
        tmp_path_factory.mktemp("brain") / "brain.h5",
        {"V4": synthetic_brain.rdm[None], "IT": synthetic_brain.subject_rdms},
        labels=np.arange(N_STIMULI) % 2,
    )


@pytest.fixture(scope="session")
def follow_brain(tiny, brain_store):
    """Return the settings of a student with batch norm that follows the mean of subjects."""
    return tiny.TINY | {
        "targets": str(brain_store),
        "match": ["pool2=IT@mean"],
        "stimuli_heldout": "0.5",
        "stimuli_eval_every": 2,
        "network": "nin:width=0.05",
        "epochs": 4,
        "lr": 0.1,
        "grad_fraction": ["rsa=0.25"],
    }


@pytest.fixture(scope="session")
def brain_student(tiny, follow_brain, tmp_path_factory):
    """Return a finished student of the brain."""
    return tiny.train(tmp_path_factory.mktemp("brain_student") / "run", **follow_brain)
