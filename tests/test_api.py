"""The verbs as Python functions."""

import subprocess
import sys

import pytest

import rdl_cli as rdl

TINY = {"dataset": "digits", "network": "mnist-cnn:width=0.25", "epochs": 1, "device": "cpu"}


def test_import_is_light_and_names_resolve():
    code = (
        "import sys, rdl_cli as rdl\n"
        "assert not {'torch', 'numpy', 'h5py'} & set(sys.modules)\n"
        "assert rdl.__version__ and all(getattr(rdl, name) for name in dir(rdl))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_verbs_go_from_teacher_to_comparison(tmp_path):
    teacher = rdl.train_teacher(tmp_path / "teacher", **TINY)
    assert isinstance(teacher, rdl.Run) and teacher.finished
    store = rdl.export_rdms(teacher.path, str(tmp_path / "store.h5"), layers=["fc"], device="cpu")
    assert store.layers == ("fc",)
    students = rdl.train_student(
        tmp_path / "students", targets=tmp_path / "store.h5", match=["fc"], seeds="0..1", **TINY
    )
    assert [run.seed for run in students] == [0, 1]
    comparison = rdl.compare(teacher.path, tmp_path / "students")
    assert [method.name for method in comparison.methods] == ["teacher", "students"]


def test_make_settings_refuses_unknown_options(tmp_path):
    with pytest.raises(rdl.UserError, match="no option `epoch`; did you mean `epochs`"):
        rdl.train_teacher(tmp_path / "a", **TINY, epoch=3)


def test_rdl_loss_is_the_objective_with_all_pairs():
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(8, 5, generator=generator) for _ in range(2))
    student.requires_grad_(True)
    loss = rdl.rdl_loss(student, teacher)
    loss.backward()
    assert student.grad is not None and student.grad.abs().sum() > 0
    i, j = torch.triu_indices(8, 8, 1)
    distances = [((x[i] - x[j]) ** 2).mean(1) for x in (student.detach(), teacher)]
    expected = ((distances[0] - distances[1]) ** 2).mean() / (distances[1] ** 2).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    square = torch.cdist(teacher, teacher) ** 2 / 5
    assert rdl.rdl_loss(student, square).item() == pytest.approx(loss.item(), rel=1e-4)
