"""Layer matches of --match, and the teacher's layers that the objectives follow."""

from collections.abc import Sequence
from functools import partial

from rdl_cli.commands.options import split_commas
from rdl_cli.commands.settings import StudentSettings, TrainingSettings
from rdl_cli.core.errors import UserError
from rdl_cli.training.objective import OBJECTIVES, LayerMatch, Objective


def parse_layer_matches(items: Sequence[str]) -> tuple[LayerMatch, ...]:
    """Parse `STUDENT=TEACHER`, or `LAYER` for the same name in both networks.

    UserError if a student layer is named twice.

    >>> parse_layer_matches(["fc=IT,pool1"])
    (LayerMatch(student='fc', teacher='IT'), LayerMatch(student='pool1', teacher='pool1'))
    """
    matches: dict[str, LayerMatch] = {}
    for item in split_commas(items):
        student, equals, teacher = item.partition("=")
        if not student or (equals and not teacher):
            raise UserError(
                f"`--match {item}` does not name two layers", hint="write --match STUDENT=TEACHER"
            )
        teacher = teacher or student
        if student in matches:
            raise UserError(
                f"--match names the student's layer `{student}` twice: with"
                f" `{matches[student].teacher}` and with `{teacher}`",
                hint="a layer can follow one layer of the teacher",
            )
        matches[student] = LayerMatch(student, teacher)
    return tuple(matches.values())


def teacher_layers(objectives: Sequence[str], matches: tuple[LayerMatch, ...]) -> list[str]:
    """Return the teacher's layers that the objectives follow.

    These are the layers of --match, and the fixed layer of some objectives (kd's logits). Without
    objectives those of the default, which follows all matches.
    """
    return list(
        dict.fromkeys(
            match.teacher
            for spec in objectives or ["rdl"]
            for match in objective_class(spec).select_matches(matches)
        )
    )


def objective_class(spec: str) -> type[Objective]:
    """Return the class of an objective, without its options. UserError if it is none."""
    factory = OBJECTIVES.find(spec)
    family = factory.func if isinstance(factory, partial) else factory
    if not (isinstance(family, type) and issubclass(family, Objective)):
        raise UserError(
            f"`{spec}` is not an objective",
            hint="an objective is a subclass of rdl_cli.training.objective.Objective",
        )
    return family


def has_unused_parameters(settings: TrainingSettings) -> bool:
    """Return True if DDP must expect unused parameters: hint-only epochs, or a task weight of 0."""
    if not isinstance(settings, StudentSettings):
        return False
    return settings.task_weight == 0 or any(
        objective_class(spec).is_exclusive is not Objective.is_exclusive
        for spec in settings.objective
    )
