"""Figures as files: fonts stay text, a user's width, font and style win, mistakes are named."""

import pytest

from rdl_cli.commands.plot.output import read_style, save_figure
from rdl_cli.commands.style_settings import StyleSettings
from rdl_cli.core.errors import UserError
from rdl_cli.figures.learning_curves import Curve, draw_learning_curves


@pytest.fixture
def curves():
    import numpy as np

    rates = np.array([[0.5, 0.2], [0.4, 0.1]])
    return [Curve("rdl", rates, rates)]


def test_save_figure_keeps_text_as_text_and_truetype_fonts(curves, tmp_path):
    svg, pdf = tmp_path / "f.svg", tmp_path / "f.pdf"
    save_figure(draw_learning_curves(curves), [svg, pdf])
    assert ">epoch</text>" in svg.read_text() and "Verdana, sans-serif" in svg.read_text()
    data = pdf.read_bytes()
    assert b"/TrueType" in data or b"/CIDFontType2" in data
    assert b"/Type3" not in data


def test_read_style_gives_width_in_inches_and_a_files_settings(tmp_path):
    path = tmp_path / "journal.mplstyle"
    path.write_text("font.size: 9\n")
    style = read_style(StyleSettings(width=88.9, style=str(path)))
    assert style.width == pytest.approx(3.5) and style.settings == {"font.size": 9}


@pytest.mark.parametrize("width", [60, 89, 183])
def test_read_style_width_is_that_of_the_figure(curves, width):
    style = read_style(StyleSettings(width=width))
    figure = draw_learning_curves(curves, style=style)
    assert figure.get_figwidth() * 25.4 == pytest.approx(width)


def test_read_style_font_is_in_the_svg(curves, tmp_path):
    style = read_style(StyleSettings(font="DejaVu Serif"))
    save_figure(draw_learning_curves(curves, style=style), [tmp_path / "f.svg"])
    assert "DejaVu Serif" in (tmp_path / "f.svg").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"font": "No Such Font"}, "the font 'No Such Font' is not installed"),
        ({"style": "missing.mplstyle"}, "--style missing.mplstyle"),
        ({"width": 5}, "--width is 5 mm; 60 to 1000 is needed"),
    ],
)
def test_read_style_names_a_mistake(settings, message):
    with pytest.raises(UserError, match=message):
        read_style(StyleSettings(**settings))
