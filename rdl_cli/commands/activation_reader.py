"""Finished runs, each opened with the pictures that it is to be shown; several on one data set share it."""

from rdl_cli.commands.compare_rdms_settings import Comparing
from rdl_cli.commands.export_rdms.export_rdms import Teacher, open_teacher, with_pictures_of
from rdl_cli.commands.image_data import load
from rdl_cli.commands.plot_settings import Drawn
from rdl_cli.commands.settings import Export
from rdl_cli.datasets.base import Splits
from rdl_cli.runs.run import Run

OWN = ("dataset", "data_root", "image_size", "split", "device")


class Opened:
    """`opened(run)`: its network with the pictures that the settings name, or those that it was trained on; a data set is read once."""

    def __init__(self, settings: Drawn | Comparing):
        self._asked = Export(**{name: getattr(settings, name) for name in OWN if hasattr(settings, name)})
        self._known: dict[tuple, Splits] = {}

    def __call__(self, run: Run) -> Teacher:
        asked = with_pictures_of(run, self._asked)
        which = asked.dataset, asked.data_root, asked.image_size
        if which not in self._known:
            self._known[which] = load(asked)
        return open_teacher(run.path, asked, self._known[which])
