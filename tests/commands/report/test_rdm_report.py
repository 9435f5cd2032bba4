"""The report of a comparison of RDMs shows ceilings, stimuli and values."""

import pytest

from rdl_cli.commands.compare_rdms.compare_rdms import compare_rdms
from rdl_cli.commands.report.rdm_report import write_rdm_report
from rdl_cli.commands.report.rdm_tables import ceiling_charts
from rdl_cli.commands.settings import CompareRdmsSettings
from rdl_cli.core.errors import UserError

SETTINGS = CompareRdmsSettings(n_resamples=0, device="cpu")


@pytest.fixture(scope="module")
def comparison(brain_store):
    return compare_rdms([brain_store], SETTINGS)


def test_write_rdm_report_holds_regions_categories_images_and_the_command(
    comparison, brain_store, tmp_path
):
    path = tmp_path / "report.html"
    command = "rdl compare-rdms 'brain <1>.h5'"
    write_rdm_report(path, comparison, [brain_store], SETTINGS, command)
    html = path.read_text(encoding="utf-8")
    assert html.count('<svg class="rdm"') == 2
    assert html.count("<symbol id=") == comparison.n_stimuli
    assert "stimulus 39" in html
    assert "rdl compare-rdms &#39;brain &lt;1&gt;.h5&#39;" in html
    assert path.stat().st_size < 5_000_000


def test_ceiling_charts_shade_the_noise_ceiling_of_regions_of_several_subjects(comparison):
    (table,) = comparison.tables
    (chart,) = ceiling_charts(table)
    assert chart.title == "IT (5 subjects)"
    assert sum(line.style == "band" for line in chart.lines) == 1
    (bar,) = chart.marks
    value = next(p.value for p in table.pairs if {p.first, p.second} == {"IT", "V4"})
    assert bar.tip == f"V4: {value:.3f}"


def test_to_frame_has_a_row_for_each_pair_and_the_measure(comparison):
    frame = comparison.to_frame()
    assert frame["measure"].unique().tolist() == ["spearman"]
    assert frame["value"].tolist() == [pair.value for pair in comparison.tables[0].pairs]
    assert comparison.to_frame("representations")["name"].tolist() == ["V4", "IT"]
    with pytest.raises(UserError, match="no table `layers`"):
        comparison.to_frame("layers")


def test_repr_html_shows_the_values(comparison):
    html = comparison._repr_html_()
    assert f"{comparison.tables[0].pairs[0].value:.3f}" in html and "<script" not in html
