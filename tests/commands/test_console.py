"""Messages: left out within a demo, all of them if verbose, none if quiet."""

import pytest

from rdl_cli.commands.console import brief, console, log, progress, set_verbosity


@pytest.fixture(autouse=True)
def normal_verbosity():
    yield
    set_verbosity(quiet=False, verbose=False)


@pytest.fixture
def messages(monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(
        console, "print", lambda text, **_: None if console.quiet else lines.append(text)
    )
    return lines


def test_brief_leaves_messages_out_unless_verbose(messages):
    log("one")
    with brief():
        log("two")
    set_verbosity(quiet=False, verbose=True)
    with brief():
        log("three")
    assert messages == ["one", "three"]


def test_brief_is_over_after_an_error(messages):
    with pytest.raises(ZeroDivisionError), brief():
        raise ZeroDivisionError
    log("after")
    assert messages == ["after"]


def test_set_verbosity_quiet_prints_neither_messages_nor_bars(messages):
    set_verbosity(quiet=True, verbose=False)
    log("one")
    with progress(3, "reading") as bar:
        assert not bar.visible
        bar.advance()
    assert messages == []
