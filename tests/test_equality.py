"""The check that results are equal to the last bit: readers, names, differences, the record."""

import importlib.util
import json
import re
import tomllib
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TABLE: dict[str, Any] = tomllib.loads((BENCHMARKS / "equality.toml").read_text(encoding="utf-8"))
IGNORED = TABLE["ignored"]["names"]


@pytest.fixture(scope="module")
def equality() -> ModuleType:
    """The script benchmarks/equality.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("equality", BENCHMARKS / "equality.py")
    assert spec and spec.loader, "benchmarks/equality.py is a Python file"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_digest_array_tells_bits_type_and_shape(equality: ModuleType) -> None:
    values = np.array([0.0, 1.0], np.float32)
    bit = np.array([0.0, np.nextafter(np.float32(1), np.float32(2))], np.float32)
    others = [bit, -values, values.astype(np.float64), values[None]]
    digests = {equality.digest_array(one) for one in [values, *others]}
    assert len(digests) == 5
    assert equality.digest_array(values.copy()) in digests


def test_digest_array_ignores_the_padding_of_texts(equality: ModuleType) -> None:
    short, wide = np.array([b"IT", b"EVC"]), np.array([b"IT", b"EVC"], "S64")
    assert equality.digest_array(short) == equality.digest_array(wide)
    assert equality.digest_array(short) != equality.digest_array(short[::-1])


def test_read_unordered_tells_rows_and_not_their_order(
    equality: ModuleType, tmp_path: Path
) -> None:
    def write(name: str, labels: list[int], layer: np.ndarray) -> Any:
        with h5py.File(tmp_path / name, "w") as file:
            file["stimuli/label"], file["layers/fc/activations"] = labels, layer[None]
        return equality.read_unordered(tmp_path / name)

    layer = np.arange(6, dtype=np.float16).reshape(3, 2)
    one = write("one.h5", [0, 1, 2], layer)
    assert write("turned.h5", [2, 1, 0], layer[::-1]) == one
    assert write("labels.h5", [2, 1, 0], layer) != one
    assert write("changed.h5", [0, 1, 2], layer + np.float16(1)) != one


def test_read_csv_divides_tables_and_leaves_out_empty_columns(
    equality: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("table,p,rate\nrun,,0.5\npair,0.1,\nrun,,0.25\n")
    columns = equality.read_csv(tmp_path / "a.csv")
    assert columns["run/rate"] == [0.5, 0.25] and columns["pair/p"] == [0.1]
    assert set(columns) == {"run/table", "run/rate", "pair/table", "pair/p"}


def write_run(folder: Path, share: str, train: str, apart: str, likeness: str, n: str) -> None:
    """Write what the names of two versions of the program differ in."""
    run = folder / "brain/run"
    run.mkdir(parents=True)
    columns = f"epoch,{share}/task,{train}/fc/spearman,{train}/fc/{apart}\n0,0.5,0.1,0.2\n"
    (run / "metrics.csv").write_text(columns)
    record = {likeness: [{"stimuli": train, n: 3}], "stimuli": {train: [0, 1, 2]}}
    (run / "stimuli.json").write_text(json.dumps(record))
    (run / "provenance.json").write_text(json.dumps({"folder": str(folder)}))
    with h5py.File(run / "predictions.h5", "w") as file:
        file["digest"], file["final/logits"] = np.array([folder.name.encode()]), np.ones((2, 3))


def test_read_results_gives_old_and_planned_names_one_name(
    equality: ModuleType, tmp_path: Path
) -> None:
    write_run(tmp_path / "old", "share", "taught", "apart", "likeness", "number")
    planned = ("grad_fraction", "train", "spearman_stimulus_bn", "brain_similarity", "n_stimuli")
    write_run(tmp_path / "new", *planned)
    old = equality.read_results(tmp_path / "old", IGNORED, TABLE["old"])
    new = equality.read_results(tmp_path / "new", IGNORED, {"results": {}, "values": {}})
    assert old == new
    assert old["brain/run/metrics.csv/grad_fraction/task"] == [0.5]
    assert old["brain/run/stimuli.json/brain_similarity/stimuli"] == ["train"]
    assert old["brain/run/predictions.h5/final/logits"].startswith("float64 2x3 ")
    assert not any("provenance" in name or "digest" in name for name in old)


def test_parse_commands_uses_the_names_of_the_program(equality: ModuleType) -> None:
    text = "\ntrain-student a {few} \\\n    --grad-fraction rsa=0.1\ncompare a > a.csv\n"
    result = equality.parse_commands(text, {"few": "--max-steps 3"}, TABLE["old"]["options"])
    assert result[0] == ["train-student", "a", "--steps", "3", "--share", "rsa=0.1"]
    assert result[1] == ["compare", "a", ">", "a.csv"]


@pytest.mark.parametrize("now", [{"a": [1.0, -0.0]}, {"a": [1.0]}, {"a": "float32 2 1f"}, {}])
def test_check_results_refuses_what_differs_or_is_missing(
    equality: ModuleType, capsys: pytest.CaptureFixture[str], now: dict[str, Any]
) -> None:
    recorded = {"a": [1.0, 0.0], "b": [None, "IT"]}
    assert not equality.check_results(recorded, {"b": [None, "IT"], **now})
    assert "1 of 2 results are equal" in capsys.readouterr().out
    assert equality.check_results(recorded, {**recorded, "c": [2]})


def test_main_refuses_a_record_of_another_machine(
    equality: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    equality.write_record(tmp_path / "record.json", {"processor": "another"}, {"a": [1.0]})
    assert equality.main(["--check", str(tmp_path / "record.json")]) == 2
    assert "cannot compare bits" in capsys.readouterr().out


def test_record_holds_nothing_that_is_ignored() -> None:
    recorded = json.loads((BENCHMARKS / "equality.json").read_text(encoding="utf-8"))["results"]
    assert not [name for name in recorded for one in IGNORED if re.search(one, name)]


@pytest.mark.parametrize("group", TABLE["commands"])
def test_record_has_results_of_every_command(equality: ModuleType, group: str) -> None:
    recorded = json.loads((BENCHMARKS / "equality.json").read_text(encoding="utf-8"))["results"]
    for words in equality.parse_commands(TABLE["commands"][group], TABLE["options"], {}):
        arguments = list(takewhile(lambda word: not word.startswith("--"), words))
        out = words[-1] if ">" in words else arguments[-1]
        if not out.endswith(".mat"):  # imported again by a later command
            assert any(name.startswith(f"{out}/") for name in recorded), f"{out} is not recorded"
