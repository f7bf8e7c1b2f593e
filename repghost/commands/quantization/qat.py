"""`repghost qat`: train a checkpoint under quantization and write its int8 form as QDQ ONNX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calib.qat.settings import FLOAT, QatSettings
from repghost.commands.options.calibration import detector_commands, tell_quantized
from repghost.commands.options.data_options import compile_command
from repghost.commands.options.earlier import Renamed
from repghost.commands.options.gather import Option
from repghost.commands.options.process_options import (
    ProcessOptions,
    is_first,
    process_options,
    processes_option,
    quiet_but_first,
    start_processes,
)
from repghost.commands.options.quant_options import CalibrationRequest, network_options, output_option
from repghost.commands.progress.notes import say_notes
from repghost.commands.progress.qat import following, tell_trained
from repghost.terminal import say_next

if TYPE_CHECKING:
    from repghost.training.options import Resume

CONVERTED = (
    "the checkpoint is converted: the branches of its depthwise layers are added up already, so these layers train "
    "fused, as with --mode fused, and only batch norms are left to --mode reparam. For the branches, give the "
    "checkpoint that the training wrote."
)
STATE_SUFFIX = ".state.pt"  # of the file that is written: the state of a run that is not done
DEFAULTS = QatSettings()
# Other spellings: those of `repghost train`, and earlier ones, which are not shown.
SHORT = {"batch": ("-b",), "learning_rate": ("--lr",)}
EARLIER = {"distillation": ("--distillation",), "temperature": ("--temperature",), "batch": ("--batch-size",)}
# Fields of the settings that options and arguments call otherwise, as `repghost train` does.
SPELLED = {
    "distillation": "distill_alpha",
    "distillation_kind": "distill_kind",
    "temperature": "distill_temperature",
    "amp": "amp_dtype",
}


def _option(name: str, text: str, kind: Any) -> Option:
    """Return the option of a field of `QatSettings`, with its default."""
    names = (f"--{SPELLED.get(name, name).replace('_', '-')}", *SHORT.get(name, ()), name)
    default = getattr(DEFAULTS, name)
    return click.option(
        *names, cls=Renamed, earlier=EARLIER.get(name, ()), default=default, show_default=True, type=kind, help=text
    )


def _spelled(training: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the settings under the names of `train_quantized`'s arguments."""
    return {SPELLED.get(name, name): value for name, value in training.items()}


@click.command("qat", short_help="Train under quantization and write int8 QDQ ONNX.")
@_option("mode", "fused, or reparam: the branches stay and learn.", str)
@_option("epochs", "Passes over --images pictures.", click.IntRange(1))
@_option("images", "Pictures of an epoch.", click.IntRange(1))
@_option("batch", "Pictures per step and process.", click.IntRange(2))
@_option("learning_rate", "Relative to each layer's weights.", float)
@_option("scale_learning_rate", "Of the logarithms of the scales.", float)
@click.option("--teacher", default=FLOAT, show_default=True,
              help="float, the float network itself; timm:NAME; a checkpoint or an ONNX file.")  # fmt: skip
@click.option("--teacher-weights", help="Of a teacher that is named: a weight file.  [default: the published ones]")
@_option("distillation", "Share of the loss that compares with the teacher, not with the labels.", float)
@_option("distillation_kind", "soft: probabilities; hard: the teacher's class.", str)
@_option("temperature", "Of the soft comparison.", float)
@_option("crop_padding", "Of a random crop, in pixels.", click.IntRange(0))
@_option("held_out", "Pictures that choose between the start and what training made of it.", click.IntRange(1))
@click.option("--flip", is_flag=True, help="Mirror half of the pictures.")
@_option("statistics_momentum", "Share of a batch in the batch-norm statistics (reparam); 0 keeps them.", float)
@_option("amp", "float16, bfloat16 or off; quantizers stay in float32.", str)
@click.option("--workers", "-j", default=0, show_default=True, type=click.IntRange(0), help="Processes that decode.")
@click.option("--resume", is_flag=False, flag_value="continue", default="new",
              help="Go on with a run that stopped before it wrote --output; 'auto' starts one otherwise.")  # fmt: skip
@click.option("--recovery-interval", default=0, type=click.IntRange(0), help="Steps between states in an epoch.")
@processes_option
@process_options
@network_options
@output_option
def command(
    request: CalibrationRequest,
    output: Path,
    processes: ProcessOptions,
    teacher: str,
    teacher_weights: str | None,
    resume: Resume,
    recovery_interval: int,
    workers: int,
    **training: Any,
) -> None:
    """Calibrate NETWORK as `repghost quantize` does, train it under quantization, and write the better of the two.

    Held-out pictures of the same split choose, by the answers of the integer program. A detector (ssdlite) learns by
    its own loss, from --data in COCO's format.

    The file is written at the end, whole. Until then the state of the run lies beside it, as OUTPUT.state.pt; with
    --resume a run that was stopped goes on from there and gives the same bytes.
    """
    start_processes(training.pop("count"))
    QatSettings(seed=request.seed, **training)  # what is refused is refused at once

    from repghost.api.accepted.coco_images import calibrating_images
    from repghost.api.quantization import quantize
    from repghost.api.training.train import calibration_count, check_resume, train_quantized

    state = output.with_name(output.name + STATE_SUFFIX)
    check_resume(state, resume)  # before minutes of calibration
    listed = calibrating_images(request.checkpoint, request.data, request.split)
    data = request.images_of_set() if listed is None else listed
    request = replace(request, images=calibration_count(data, training["held_out"], request.seed))
    with quiet_but_first(), following() as shown:
        start = quantize(request.checkpoint, data, progress=False, **request.options())
        tell_quantized(start, request)
        checkpoint = start.network.checkpoint
        if training["mode"] == "reparam" and checkpoint is not None and checkpoint.spec.form == "deploy":
            say_notes([CONVERTED])
        result = train_quantized(
            start, data if listed is None else request.data, **_spelled(training), seed=request.seed, teacher=teacher,
            teacher_weights=teacher_weights, class_order=request.class_order,
            split="train" if listed is None else str(request.split), workers=workers, state=state, resume=resume,
            recovery_interval=recovery_interval, on_step=shown.step, on_candidate=shown.candidate,
            on_refused=shown.refused, say=lambda note: say_notes([note]), progress=False, **vars(processes),
        )  # fmt: skip
        if is_first():
            result.save(output, settings=False)
            tell_trained(output, result)
            state.unlink(missing_ok=True)
            if listed is None:
                say_next(compile_command(output, request.data, vars(request)))
            else:
                say_next(*detector_commands(request, output))
