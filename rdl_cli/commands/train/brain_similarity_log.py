"""Log a student's similarity to its brain: columns of metrics.csv, and stimuli.json at the end."""

from collections.abc import Sequence
from pathlib import Path

from rdl_cli.commands.console import log
from rdl_cli.commands.settings import StudentSettings
from rdl_cli.runs.run import Run
from rdl_cli.store.store import Store
from rdl_cli.training.brain_similarity import BrainSimilarity, BrainSimilarityEvaluator
from rdl_cli.training.brain_target import BrainTarget
from rdl_cli.training.objective import Objective
from rdl_cli.training.student import StudentModule

SPLIT_NAMES = {"train": "training", "heldout": "held-out"}


class BrainSimilarityLogger:
    """Measures the brain similarity every few epochs, and at the end.

    metrics.csv gets the columns `train_stimuli/LAYER/spearman`, `heldout_stimuli/LAYER/spearman`
    and so on; `train/...` are the loss terms.
    """

    def __init__(
        self,
        target: BrainTarget,
        objectives: Sequence[Objective],
        settings: StudentSettings,
        epochs: int,
    ):
        self.evaluator = BrainSimilarityEvaluator(target, objectives)
        self.settings, self.epochs = settings, epochs
        self.every = settings.stimuli_eval_every or max(1, epochs // 10)

    def measure(self, module: StudentModule, epoch: int) -> dict[str, float]:
        """Return the columns of this epoch; none in most epochs."""
        if (epoch + 1) % self.every and epoch + 1 < self.epochs:
            return {}
        columns: dict[str, float] = {}
        for (split, match), similarity in self.evaluator(module).items():
            name = f"{SPLIT_NAMES[split]} stimuli, {match.student} ~ {match.teacher}"
            log(f"  {name}: {describe_similarity(similarity)}")
            columns |= {
                f"{split}_stimuli/{match.student}/{measure}": value
                for measure, value in similarity._asdict().items()
                if value is not None
            }
        return columns

    def write(self, run: Run, module: StudentModule) -> None:
        """Write stimuli.json: the similarity with the module's present weights, and the split."""
        names = Store.open(Path(self.settings.targets)).stimuli.names
        rows = {split: rows.tolist() for split, rows in self.evaluator.rows.items()}
        similarities = [
            {
                "layer": match.student,
                "region": match.teacher,
                "distance": self.evaluator.distances[match],
                "stimuli": split,
                "n_stimuli": len(rows[split]),
            }
            | similarity._asdict()
            for (split, match), similarity in self.evaluator(module).items()
        ]
        stimuli = {
            split: [row if names is None else str(names[row]) for row in of_split]
            for split, of_split in rows.items()
        }
        control = self.settings.control or None
        run.write_stimuli(
            {"control": control, "brain_similarity": similarities, "stimuli": stimuli}
        )


def make_similarity_logger(
    objectives: Sequence[Objective], settings: StudentSettings, epochs: int
) -> BrainSimilarityLogger | None:
    """Return a logger, or None if no objective follows a brain."""
    targets = [o.target for o in objectives if isinstance(o.target, BrainTarget)]
    return BrainSimilarityLogger(targets[0], objectives, settings, epochs) if targets else None


def describe_similarity(similarity: BrainSimilarity) -> str:
    """Return a similarity in words."""
    text = f"Spearman {similarity.spearman:.3f}, Pearson {similarity.pearson:.3f}"
    if similarity.mean_subject_spearman is not None:
        text += (
            f"; with each subject {similarity.mean_subject_spearman:.3f}, noise ceiling"
            f" {similarity.noise_ceiling_lower:.3f}–{similarity.noise_ceiling_upper:.3f}"
        )
    if abs(similarity.spearman_stimulus_bn - similarity.spearman) > 5e-4:
        text += f"; with the stimuli's batch-norm statistics {similarity.spearman_stimulus_bn:.3f}"
    return text
