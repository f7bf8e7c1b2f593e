"""One run of `repghost.train`: open images, suit the recipe to them, train, evaluate, write the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

from repghost.api.networks.opened import with_facts
from repghost.api.shown.notes import Notes
from repghost.api.shown.progress import Progress, follow
from repghost.api.training.interrupts import interruptible
from repghost.api.training.recipes import RecipeValues, recipe_with, values_of
from repghost.api.training.teachers import open_teacher
from repghost.api.training.train_command import train_command
from repghost.api.training.trained import Trained
from repghost.channels import RGB
from repghost.data import ImageSet, notes_on, open_dataset
from repghost.data.names.class_names import CHARACTERS, shown_names
from repghost.distributed.ranks import Ranks
from repghost.errors import UsageError, option
from repghost.evaluation.classes import match_classes
from repghost.files import write_text_atomically
from repghost.network.spec import model_name
from repghost.training.choose_recipe import OF_LOADING, choose_recipe, refuse_colours
from repghost.training.feeds.choose import open_validation
from repghost.training.follow.hooks import Hooks, StepRecord, TrainingStoppedError, joined
from repghost.training.follow.plot import plotting
from repghost.training.follow.tensorboard import board
from repghost.training.follow.weights_and_biases import weights_and_biases
from repghost.training.losses import as_teacher, distilled, recipe_loss
from repghost.training.options import Loading, Loss, Options, Resume
from repghost.training.recipe import Recipe, get_recipe
from repghost.training.result import evaluate, open_tested, write_trained
from repghost.training.state.state import EpochRecord
from repghost.training.suit import suit_device, suit_images
from repghost.training.suit_set import notes_on_few, random_start, suit_held_out, suit_size, usual_workers
from repghost.training.train import class_names, train
from repghost.training.transfer import read_start

MODEL_FILE, ARGS_FILE = "model.safetensors", "args.yaml"
# Arguments that a run writes beside the values of its recipe.
WRITTEN = (
    "data", "train_split", "val_split", "val_data", "val_share", "pretrained", "teacher_weights", "num_classes",
    "class_order", "class_map",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """The arguments of `repghost.train` beside its recipe, each under its own name; None where it was not given."""

    data: Path
    folder: Path
    resume: Resume
    train_split: str
    val_split: str | None
    val_data: Path | None
    pretrained: str | None
    teacher_weights: str | None
    num_classes: int | None
    workers: int | None
    pin_mem: bool | None
    validation_batch_size_multiplier: int | None
    broken_limit: int | None
    recovery_interval: int
    log_interval: int | None
    tensorboard: bool | None
    wandb: bool | None
    class_order: str | None
    class_map: Path | None
    val_share: float | None
    chosen: frozenset[str]  # values of the recipe that the caller gave

    @property
    def given(self) -> frozenset[str]:
        """The names of the arguments and values of the recipe that the caller gave."""
        return self.chosen | {item.name for item in fields(self) if getattr(self, item.name) is not None}

    def open(self) -> ImageSet:
        """Return the images that are trained on, their classes in order."""
        found = open_dataset(self.data, self.train_split, self.class_map, self.val_share)
        return match_classes(found, len(found.classes), None, self.class_order or CHARACTERS)

    def args(self, recipe: Recipe) -> str:
        """Return the arguments of the run as YAML, which `repghost train -c` reads."""
        import yaml  # type: ignore[import-untyped]

        own = {name: getattr(self, name) for name in WRITTEN if getattr(self, name) is not None}
        given = {name: str(value) if isinstance(value, Path) else value for name, value in own.items()}
        return str(yaml.safe_dump({"recipe": recipe.name, **values_of(recipe), **given}, allow_unicode=True))

    def options(self, recipe: Recipe, images: int, ranks: Ranks) -> Options:
        """Return what does not decide the result, for a number of images."""
        return Options(
            resume=self.resume,
            ranks=ranks,
            loading=Loading(
                workers=usual_workers(images) if self.workers is None else self.workers,
                pin_memory=bool(self.pin_mem),
                broken_limit=50 if self.broken_limit is None else self.broken_limit,
                validation_batch=recipe.batch * (self.validation_batch_size_multiplier or 1),
            ),
            state_interval=self.recovery_interval,
            log_interval=self.log_interval or 50,
            num_classes=self.num_classes,
        )


@dataclass(frozen=True)
class Followed:
    """Who follows a run."""

    begin: Callable[[int, int], None] | None
    step: Callable[[StepRecord], None] | None
    epoch: Callable[[EpochRecord], None] | None
    progress: Progress


def run(
    named: Recipe | None, values: RecipeValues, wanted: TrainArguments, ranks: Ranks, tell: Notes, followed: Followed
) -> Trained:
    """Open the images, train, evaluate on the test split, and write the checkpoint.

    Args:
        named: the recipe that the caller named, with the caller's values.
        values: those of the caller, for a recipe that the images choose.
        wanted: the caller's other arguments.
        ranks: this process among the others.
        tell: the caller, of what to know.
        followed: who follows the run.
    """
    recipe, why, dataset = _chosen(named, values, wanted, ranks)
    tell(*notes_on(dataset))
    recipe = _suited(recipe, bool(why), dataset, wanted, ranks, tell)
    names = class_names(dataset, wanted.num_classes)
    weights, channels = None, recipe.preprocess.channels
    if wanted.pretrained is not None:
        weights = read_start(wanted.pretrained, recipe.width, channels)
    if weights is not None and weights.ordered(names).classes != len(names):
        of = "" if weights.labels is None else f" ({shown_names(weights.labels)})"
        tell(f"the classifier begins fresh, {weights.source} is for {weights.classes} other classes{of}")
    options = replace(
        wanted.options(recipe, len(dataset), ranks), weights=weights, loss=_taught_loss(recipe, names, wanted, ranks)
    )
    validation = None
    if not recipe.held_out:
        split = wanted.val_split or "val"
        validation = open_validation(wanted.data, wanted.val_data, split, dataset, wanted.class_map, wanted.val_share)
    test, untested = open_tested(wanted.data, names, validation, wanted.class_map, wanted.val_share)
    for known in (dataset, validation, test):
        tell(*(() if known is None else notes_on(known)))
    tell(*(weights.notes if weights else ()), _rate(recipe, wanted, ranks))
    tell.mention(notes_on_few(dataset))
    tell.mention("" if weights else random_start(recipe, len(dataset)))
    folder, events = wanted.folder, wanted.tensorboard if ranks.first else False
    with (
        interruptible(TrainingStoppedError, folder) as should_stop,
        board(folder, events) as shown,
        weights_and_biases(folder, bool(wanted.wandb) and ranks.first, recipe.to_dict()) as sent,
        ExitStack() as bars,
    ):
        begin = _start_line(recipe, why, dataset, wanted, options, tell)
        last = [plotting(folder)] if ranks.first else []
        hooks = joined(_hooks(followed, should_stop, bars), Hooks(begin=begin), shown, sent, *last)
        result = train(recipe, dataset, folder, hooks, validation, options)
    model = result.model.cpu()
    ranks.share(model)
    found = None if test is None else evaluate(model, recipe, test, ranks)
    if ranks.first:
        again = train_command(recipe, wanted.pretrained is not None)
        write_trained(folder / MODEL_FILE, recipe, result, names, found, again)
    with_facts(model, recipe.preprocess, names)
    ranks.wait()
    return Trained(
        model=model,
        path=folder / MODEL_FILE,
        recipe=recipe,
        history=result.history,
        kept=result.kept,
        test=found,
        untested=untested,
        broken=result.broken,
        quantized=None,
        notes=tuple(tell.notes),
    )


def _hooks(followed: Followed, should_stop: Callable[[], bool], bars: ExitStack) -> Hooks:
    """Return the hooks of a run: its progress, and whoever follows it."""
    done: Callable[[int], None]

    def preparing(places: Iterable[int]) -> Iterator[int]:
        total = len(places) if isinstance(places, Sized) else None
        with follow(followed.progress, "prepare", total) as prepared:
            for place in places:
                yield place
                prepared(1)

    def begin(epochs: int, images: int) -> None:
        nonlocal done
        done = bars.enter_context(follow(followed.progress, "train", epochs * images))
        if followed.begin is not None:
            followed.begin(epochs, images)

    def step(record: StepRecord) -> None:
        done(record.images)
        if followed.step is not None:
            followed.step(record)

    return Hooks(
        preparing=preparing, begin=begin, step=step, epoch=followed.epoch or Hooks.epoch, should_stop=should_stop
    )


def _chosen(
    named: Recipe | None, values: RecipeValues, wanted: TrainArguments, ranks: Ranks
) -> tuple[Recipe, str, ImageSet]:
    """Return the recipe, why it was chosen where the caller named none, and the images that are trained on."""
    if named is not None:
        _refuse_unused(named, wanted, ranks)
    dataset, why = wanted.open(), ""
    if named is None:
        name, why = choose_recipe(dataset, wanted.given, values.get("width"))
        named = recipe_with(name, values)
        _refuse_unused(named, wanted, ranks)
    refuse_colours(named, dataset)
    return named, why, dataset


def _start_line(
    recipe: Recipe, why: str, dataset: ImageSet, wanted: TrainArguments, options: Options, tell: Notes
) -> Callable[[int, int], None]:
    """Return what writes and tells how the run is made, once its epochs and their images are known."""
    ranks, workers = options.ranks, options.loading.workers

    def begin(epochs: int, images: int) -> None:
        if ranks.first:
            write_text_atomically(wanted.folder / ARGS_FILE, wanted.args(recipe))
        decoding = "" if recipe.augmentation is None else f", {workers} workers"
        step = recipe.batch * ranks.count * recipe.execution.accumulate
        precision = {"off": "float32"}.get(recipe.execution.amp, recipe.execution.amp)
        count = recipe.preprocess.channels
        channels = "" if count == RGB else f" of {count} channel{'s' if count > 1 else ''}"
        processes = f" in {ranks.count} processes" if ranks.count > 1 else ""
        tell.mention(
            f"recipe {recipe.name}{f' ({why})' if why else ''}: {model_name(recipe.width)} at {recipe.preprocess.size} "
            f"px{channels}, {len(dataset)} pictures of {len(dataset.classes)} classes in {wanted.data}, "
            f"{epochs * images // step} steps of {step} pictures in {epochs} epochs, {ranks.device.type}{processes}, "
            f"{precision}{decoding}"
        )

    return begin


def _refuse_unused(recipe: Recipe, wanted: TrainArguments, ranks: Ranks) -> None:
    """Refuse arguments that this recipe or this device has no use for."""
    for name in sorted(OF_LOADING) if recipe.augmentation is None else ():
        if getattr(wanted, name) is not None:
            raise UsageError(
                f"{option(name)} has no effect on recipe {recipe.name!r}, which keeps its pictures in memory and holds "
                "some out to evaluate on; leave it out."
            )
    for name in ("log_interval", "pin_mem") if ranks.device.type == "cpu" else ():
        if getattr(wanted, name) is not None:
            raise UsageError(f"{option(name)} has no effect without a GPU; leave it out.")


def _taught_loss(recipe: Recipe, classes: tuple[str, ...], wanted: TrainArguments, ranks: Ranks) -> Loss | None:
    """Return the loss with the recipe's teacher; None where the recipe's own is all."""
    teaching = recipe.teaching
    if not teaching.teacher:
        if wanted.teacher_weights is not None:
            raise UsageError(
                f"{option('teacher_weights')} has no effect without {option('teacher')}; give that too, or leave it "
                "out."
            )
        return None
    teacher, _ = open_teacher(teaching.teacher, recipe.preprocess, len(classes), classes, wanted.teacher_weights)
    if teacher is None:
        raise UsageError(
            f"{option('teacher', teaching.teacher)} is for training under quantization; here give timm:NAME, a "
            "checkpoint or an ONNX file."
        )
    how = teaching.distillation, teaching.temperature, teaching.distillation_kind
    return distilled(recipe_loss(recipe), as_teacher(teacher, ranks.device), *how)


def _suited(recipe: Recipe, free: bool, dataset: ImageSet, wanted: TrainArguments, ranks: Ranks, tell: Notes) -> Recipe:
    """Return the recipe as it suits the device and the images, and tell what was changed.

    Args:
        recipe: with the caller's values.
        free: whether the images chose it, and so choose its size as well, as they do for "finetune".
        dataset: the images that are trained on.
        wanted: the caller's arguments.
        ranks: this process among the others.
        tell: the caller.
    """
    recipe, device_note = suit_device(recipe, ranks.device)
    recipe, images, size_note = suit_held_out(recipe, len(dataset), wanted.chosen), len(dataset), ""
    if free or recipe.name == "finetune":
        recipe, size_note = suit_size(recipe, dataset, wanted.chosen)
    trained = images - (recipe.held_out if recipe.augmentation is None else 0)
    recipe, images_note = suit_images(recipe, trained, ranks.count, wanted.chosen)
    tell(device_note, size_note, images_note)
    return recipe


def _rate(recipe: Recipe, wanted: TrainArguments, ranks: Ranks) -> str:
    """Return what the linear rule says of the learning rate: it grows with the images per step; "" without a rule."""
    reference = recipe.optimization.reference_batch
    if reference is None:
        return ""
    base = get_recipe(recipe.name)
    if recipe.batch != base.batch and "batch" not in wanted.chosen:
        return ""  # what suited batch and rate to few images said it
    total, usual = recipe.batch * ranks.count * recipe.execution.accumulate, base.learning_rate
    return (
        f"{total} pictures per step; the recipe's rate {usual:g} is for {reference}, the linear rule gives "
        f"{usual * total / reference:.4g}, this run uses {recipe.learning_rate:g} ({option('learning_rate')})"
    )
