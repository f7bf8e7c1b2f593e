"""`repghost train -c args.yaml`: of the authors' runs, of this program's, and of scripts with other keys."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from calib.settings.config_file import read_config
from repghost.api.training.recipes import RecipeValues, recipe_with, values_of
from repghost.api.training.run import WRITTEN, TrainArguments
from repghost.cli import cli
from repghost.commands.options.args_file import from_file
from repghost.commands.training.train import _of_the_recipe, command
from repghost.commands.training.validate import command as validate
from repghost.errors import UsageError
from repghost.training.recipe import RECIPES, Recipe, get_recipe

# work_dirs/train/repghostnet_1_3x_231M_76.37/args.yaml of the authors' repository, in lines of several keys
AUTHORS = """{
aa: rand-m9-mstd0.5, amp: true, apex_amp: false, aug_splits: 0, batch_size: 128, bn_eps: null, bn_momentum: null,
bn_tf: false, channels_last: false, checkpoint_hist: 5, clip_grad: null, clip_mode: norm, color_jitter: 0.4,
cooldown_epochs: 0, crop_pct: null, cutmix: 0.0, cutmix_minmax: null, data_dir: /disk2/datasets/imagenet, dataset: '',
decay_epochs: 30, decay_rate: 0.1, dist_bn: '', drop: 0.2, drop_block: null, drop_connect: null, drop_path: null,
epoch_repeats: 0.0, epochs: 300, eval_metric: top1, experiment: '', gp: null, hflip: 0.5, img_size: null,
initial_checkpoint: '', input_size: null, interpolation: '', jsd: false, local_rank: 0, log_interval: 50,
log_wandb: false, lr: 0.6, lr_cycle_limit: 1, lr_cycle_mul: 1.0, lr_noise: null, lr_noise_pct: 0.67, lr_noise_std: 1.0,
mean: null, min_lr: 1.0e-05, mixup: 0.0, mixup_mode: batch, mixup_off_epoch: 0, mixup_prob: 1.0, mixup_switch_prob: 0.5,
model: repghost.repghostnet_1_3x, model_ema: true, model_ema_decay: 0.9999, model_ema_force_cpu: false, momentum: 0.9,
native_amp: false, no_aug: false, no_prefetcher: false, no_resume_opt: false, num_classes: 1000, opt: sgd,
opt_betas: null, opt_eps: null, output: work_dirs/train/, patience_epochs: 10, pin_mem: false, pretrained: false,
ratio: [0.75, 1.3333333333333333], recount: 1, recovery_interval: 0, remode: pixel, reprob: 0.2, resplit: false,
resume: '', save_images: false, scale: [0.08, 1.0], sched: cosine, seed: 42, smoothing: 0.1, split_bn: false,
start_epoch: null, std: null, sync_bn: false, torchscript: false, train_interpolation: random, train_split: train,
tta: 0, use_multi_epochs_loader: false, val_split: val, validation_batch_size_multiplier: 1, vflip: 0.0,
warmup_epochs: 5, warmup_lr: 0.0001, weight_decay: 1.0e-05, workers: 7
}"""


def parsed(path: Path, text: str, more: str = "") -> dict[str, Any]:
    path.write_text(text)
    with command.make_context("train", ["-c", str(path), *shlex.split(more)]) as context:
        given = dict(context.params)
        return _of_the_recipe(given, given.pop("mixed"), from_file(context))


def recipe_of(given: dict[str, Any]) -> Recipe:
    values: Any = {name: value for name, value in given.items() if name in RecipeValues.__annotations__}
    return recipe_with(given["recipe"], values)


def test_the_authors_file_is_their_recipe(tmp_path: Path) -> None:
    given = parsed(tmp_path / "args.yaml", AUTHORS)
    wide = get_recipe("imagenet-wide").changed(name="imagenet", color_jitter=0.4)
    assert recipe_of(given) == wide
    assert given["data"] == Path("/disk2/datasets/imagenet") and given["output"] == Path("work_dirs/train")
    assert (given["workers"], given["val_split"], "num_classes" in given) == (7, "val", False)


def test_the_command_line_comes_before_the_file(tmp_path: Path) -> None:
    more = "--data_dir here --lr 0.3 --amp-dtype bfloat16 --no-model-ema --model repghost.repghostnet_0_5x"
    given = parsed(tmp_path / "args.yaml", AUTHORS, more)
    recipe = recipe_of(given)
    assert given["data"] == Path("here")
    assert (recipe.width, recipe.learning_rate, recipe.execution.amp, recipe.ema) == (0.5, 0.3, "bfloat16", False)
    given = parsed(tmp_path / "args.yaml", AUTHORS.replace("amp: true,", "amp: false,", 1))
    assert recipe_of(given).execution.amp == "off"
    with pytest.raises(UsageError, match="clip_mode= has no effect without clip_grad="):
        recipe_of(parsed(tmp_path / "args.yaml", AUTHORS, "--clip-mode value"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_writes_what_reads_as_itself(name: str, tmp_path: Path) -> None:
    changed: Any = {"width": "0.58", "img_size": 96, "crop_pct": 0.9, "epochs": 50, "lr_noise": (0.1, 0.5)}
    recipe = recipe_with(name, changed)
    wanted = TrainArguments(**dict.fromkeys(TrainArguments.__annotations__) | {"data": Path("a b"), "num_classes": 12})  # type: ignore[arg-type]
    given = parsed(tmp_path / "args.yaml", wanted.args(recipe))
    assert recipe_of(given) == recipe
    assert (given["data"], given["num_classes"]) == (Path("a b"), 12)
    assert set(WRITTEN) <= set(TrainArguments.__annotations__)
    assert values_of(recipe)["lr_noise"] == [0.1, 0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3\nsoup: 4\nanchors: [3, 4]\nnothing: null", "no option of this command is called anchors, soup"),
        ("drop_path: 0.2", "--drop-path is refused: the network has no drop-path"),
        ("[1, 2]", "not a table of arguments"),
        ("epochs: {a: 3}", "epochs is"),
        ("epochs: [", "not YAML"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("a: &a [x, x]\n" * 6000, "larger|bytes|at most"),
        ("model: resnet50\ndata: x", "resnet50"),
        ('{"version": 1, "policy": "cpu", "layers": {}}', "which 'repghost quantize --config' takes; here"),
        ('{"version": 1, "size": 64, "resize": 64, "mean": [0], "std": [1]}', "which --preprocess takes; here"),
    ],
)
@pytest.mark.parametrize("command", ["train", "validate"])
def test_other_files_are_refused_by_what_is_wrong(command: str, text: str, message: str, tmp_path: Path) -> None:
    if (command, text) == ("validate", "drop_path: 0.2"):
        text, message = "mean: [0, 0, 0]", "mean is .* give --preprocess FILE"  # only training has drop-path
    (tmp_path / "args.yaml").write_text(text)
    result = CliRunner().invoke(cli, [command, "-c", str(tmp_path / "args.yaml"), *["absent"][command == "train" :]])
    assert result.exit_code == 2, result.output
    assert re.search(message, result.output), result.output
    assert "Traceback" not in result.output


def validated(path: Path, text: str, more: str = "") -> dict[str, Any]:
    path.write_text(text)
    return validate.make_context("validate", ["-c", str(path), *shlex.split(more)]).params


def test_validate_takes_the_set_and_the_width_of_the_authors_file(tmp_path: Path) -> None:
    given = validated(tmp_path / "args.yaml", AUTHORS)
    wanted = {"data": Path("/disk2/datasets/imagenet"), "split": "val", "width": "repghost.repghostnet_1_3x"}
    assert wanted.items() <= given.items() and (given["batch"], given["workers"], given["seed"]) == (128, 7, 0)
    assert not given["ema"], "averaged weights are measured wherever there are any"
    given = validated(tmp_path / "args.yaml", AUTHORS.replace("img_size: null", "img_size: 192"), "-b 32 --data here")
    assert (given["img_size"], given["batch"], given["data"]) == (192, 32, Path("here"))


def test_validate_takes_a_run_of_this_program_by_its_file_alone(tmp_path: Path) -> None:
    values = dict.fromkeys(TrainArguments.__annotations__) | {"data": Path("a b"), "val_share": 0.3}
    args = TrainArguments(**values).args(get_recipe("cifar-short"))  # type: ignore[arg-type]
    given = validated(tmp_path / "args.yaml", args)
    assert (given["data"], given["val_share"], given["img_size"], given["crop_pct"]) == (Path("a b"), 0.3, None, None)
    assert validated(tmp_path / "args.yaml", args + "val_data: shards")["data"] == Path("shards")
    result = CliRunner().invoke(cli, ["validate", "-c", str(tmp_path / "args.yaml")])
    assert result.exit_code == 2 and "give either networks" in result.output
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    result = CliRunner().invoke(cli, ["validate", "-c", str(tmp_path / "args.yaml"), "--data", str(tmp_path)])
    assert result.exit_code == 2 and "give either networks" not in result.output


def test_settings_of_a_quantization_are_no_arguments_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text(AUTHORS[2:-1])
    with pytest.raises(UsageError, match="'repghost train -c' takes; here give the settings of a quantization"):
        read_config(tmp_path / "args.yaml", None)


def test_resume_with_weights_alone_points_to_pretrained(tmp_path: Path) -> None:
    weights = tmp_path / "last.pth.tar"
    weights.write_bytes(b"anything")
    result = CliRunner().invoke(cli, ["train", "--data", str(tmp_path), "--resume", str(weights)])
    assert result.exit_code == 2
    assert f"--pretrained {weights}" in result.output
