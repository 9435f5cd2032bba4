"""Finished runs, each opened with the pictures that it is to be shown; several on one data set share it."""

from rdl_cli.commands.export_rdms.export_rdms import ActivationReader, add_stimuli, open_reader
from rdl_cli.commands.image_data import load_splits
from rdl_cli.commands.settings import CompareRdmsSettings, DrawingSettings, ExportSettings
from rdl_cli.datasets.base import Splits
from rdl_cli.runs.run import Run

OWN = ("dataset", "data_root", "image_size", "split", "device")


class ReaderCache:
    """`opened(run)`: its network with the pictures that the settings name, or those that it was trained on; a data set is read once."""

    def __init__(self, settings: DrawingSettings | CompareRdmsSettings):
        self._asked = ExportSettings(
            **{name: getattr(settings, name) for name in OWN if hasattr(settings, name)}
        )
        self._known: dict[tuple, Splits] = {}

    def __call__(self, run: Run) -> ActivationReader:
        asked = add_stimuli(run, self._asked)
        which = asked.dataset, asked.data_root, asked.image_size
        if which not in self._known:
            self._known[which] = load_splits(asked)
        return open_reader(run.path, asked, self._known[which])
