"""Tables as spreadsheets and pandas write them by default."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from rdl_cli.core.errors import UserError
from rdl_cli.io.read import read_rdms

NAMES = ("face", "hand", "house", "tool")
N = len(NAMES)
VECTOR = pdist(np.random.default_rng(2).normal(size=(N, 9)), "correlation")
SQUARE = squareform(VECTOR)
PAIRS = list(zip(*np.triu_indices(N, 1), VECTOR, strict=True))


def put(path, rows, mark=","):
    path.write_text("".join(mark.join(map(str, row)) + "\n" for row in rows))
    return path


def long(names=NAMES):
    return [(names[i], names[j], float(v)) for i, j, v in PAIRS]


@pytest.mark.parametrize("index", ["", "index", "Unnamed: 0"])
def test_read_table_pandas_numbers_of_the_lines_are_no_stimuli(index, tmp_path):
    rows = [(index, "a", "b", "dissimilarity"), *((k, *row) for k, row in enumerate(long()))]
    (imported,) = read_rdms([put(tmp_path / "it.csv", rows)])
    assert imported.stimuli == NAMES and np.array_equal(imported.values, VECTOR[None])


def test_read_table_of_many_columns_those_with_the_same_values_are_the_stimuli(tmp_path):
    rows = [
        ("rater", "a", "b", "trials", "dissimilarity"),
        *((f"r{k}", a, b, 40 + k, v) for k, (a, b, v) in enumerate(long())),
    ]
    (imported,) = read_rdms([put(tmp_path / "it.csv", rows)])
    assert imported.stimuli == NAMES and np.array_equal(imported.values, VECTOR[None])


def test_read_table_categories_of_stimuli_are_no_stimuli(tmp_path):
    kind = {name: name in NAMES[:2] for name in NAMES}
    rows = [
        ("a", "b", "kind a", "kind b", "dissimilarity"),
        *((a, b, kind[a], kind[b], v) for a, b, v in long()),
    ]
    (imported,) = read_rdms([put(tmp_path / "it.csv", rows)])
    assert imported.stimuli == NAMES and np.array_equal(imported.values, VECTOR[None])


def test_read_table_columns_that_look_alike_are_listed(tmp_path):
    rows = [("a", "b", "c", "dissimilarity"), *((a, b, a, v) for a, b, v in long())]
    with pytest.raises(
        UserError,
        match="has 3 columns of which two can name the stimuli of a pair: `a`, `b`, `c`",
    ) as error:
        read_rdms([put(tmp_path / "it.csv", rows)])
    assert "stimulus_1" in error.value.hint
    rows[0] = ("s_1", "s_2", "c", "dissimilarity")
    assert read_rdms([put(tmp_path / "it.csv", rows)])[0].stimuli == NAMES


@pytest.mark.parametrize("half", [np.triu, np.tril])
@pytest.mark.parametrize(
    "names",
    [NAMES, tuple(map(str, range(N))), tuple(map(str, range(1, N + 1)))],
    ids=["names", "from 0", "from 1"],
)
def test_read_table_a_half_that_is_filled_beside_names_is_mirrored_on_request(
    half, names, tmp_path
):
    unchanged = half(np.ones((N, N)), {np.triu: 1, np.tril: -1}[half])
    cells = [
        ["" if not there else float(v) for v, there in zip(*row, strict=True)]
        for row in zip(SQUARE, unchanged, strict=True)
    ]
    path = put(
        tmp_path / "it.csv",
        [("", *names), *((name, *row) for name, row in zip(names, cells, strict=True))],
    )
    with pytest.raises(UserError, match="not symmetric") as error:
        read_rdms([path])
    assert "--repair mirror" in error.value.hint
    (imported,) = read_rdms([path], repairs=("mirror",))
    assert imported.stimuli == names and np.array_equal(imported.values, VECTOR[None])


def test_read_table_a_blank_diagonal_beside_numbers_that_are_names(tmp_path):
    cells = [
        ["" if i == j else float(v) for j, v in enumerate(row)] for i, row in enumerate(SQUARE)
    ]
    path = put(tmp_path / "it.csv", [("", *range(N)), *((i, *row) for i, row in enumerate(cells))])
    (imported,) = read_rdms([path])
    assert (
        imported.n_stimuli == N
        and imported.stimuli == ("0", "1", "2", "3")
        and np.array_equal(imported.values, VECTOR[None])
    )


def test_read_table_a_separator_within_quotes_is_part_of_a_name(tmp_path):
    names = ('"face; ""left"""', "hand", '"house\tbig"', '"a,b"')
    rows = [
        ("stimulus", *names),
        *((name, *map(float, row)) for name, row in zip(names, SQUARE, strict=True)),
    ]
    (imported,) = read_rdms([put(tmp_path / "it.csv", rows)])
    assert imported.stimuli == ('face; "left"', "hand", "house\tbig", "a,b") and np.array_equal(
        imported.values, VECTOR[None]
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_read_table_text_may_be_utf_16(encoding, tmp_path):
    path = put(tmp_path / "it.csv", long(("Gesicht", "Hände", "Häuser", "木")))
    path.write_text(path.read_text(), encoding)
    assert read_rdms([path])[0].stimuli == ("Gesicht", "Hände", "Häuser", "木")


def test_read_table_text_in_another_encoding_is_refused(tmp_path):
    path = put(tmp_path / "it.csv", long(("Gesicht", "Hände", "Haus", "Baum")))
    path.write_text(path.read_text(), "latin-1")
    with pytest.raises(
        UserError, match="text in another encoding than UTF-8: byte 10 is 0xe4"
    ) as error:
        read_rdms([path])
    assert "save it as UTF-8" in error.value.hint
