"""report.md, made from the JSON of a report and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calib.settings.describe import describe_observers
from compile.report.average_precision import precision_lines
from compile.report.boards import BOARD_ACCURACY
from compile.report.gives import gives_text
from compile.targets.forms import model_file
from repghost.sizes import sides_text
from repghost.tables import make_table, markdown_lines

MEGABYTE = 1e6
NOT_MEASURED = "not measured"


def render_report(report: Mapping[str, Any]) -> str:
    """Return the page of a report, Markdown.

    Args:
        report: as `compile.report.run_report.read_report` returns it.
    """
    model, weights = report["model"], report["weights"]
    size = sides_text(report["preprocess"]["size"])
    note = f": {weights['note']}" if "note" in weights else ""
    lines = [
        f"# {model['name']} at {size} pixels",
        "",
        f"{gives_text(model)}, {weights['kind']} weights ({weights['source']}{note}).",
        "",
        "## Accuracy",
        "",
        *_accuracy(report),
        *[f"- {note}" for note in report.get("notes", ())],
        "",
        *_quantization(report["quantization"]),
        "",
        "## Builds",
        "",
        *_builds(report["builds"]),
        "",
        "## Verification",
        "",
        *[line for build in report["builds"] for line in _verification(build)],
        "",
        "## Latency",
        "",
        *[line for build in report["builds"] for line in _latency(build)],
        *[line for build in report["builds"] for line in board_accuracy_lines(build)],
        "",
        "## Next",
        "",
        *[f"- `{entry['command']}`: {entry['does']}" for entry in report["next"]],
        "",
        f"Tools: {', '.join(f'{name} {version}' for name, version in sorted(report['tools'].items()))}.",
    ]
    return "\n".join(lines) + "\n"


def _points(value: float) -> str:
    """Return a share as signed percentage points; plus or minus zero is zero."""
    return f"{round(100 * value, 2) + 0.0:+.2f}"


def accuracy_lines(accuracy: Mapping[str, Any]) -> list[str]:
    """Return the accuracy as plain sentences, for the page and the terminal."""
    if not accuracy["measured"]:
        return [f"accuracy: {NOT_MEASURED} ({accuracy['reason']}); measure it with `{accuracy['command']}`"]
    fp32, int8, change = accuracy["fp32"], accuracy["int8"], accuracy["change"]
    checked = int8["checked_on"]
    check = f", equal to the numpy reference on the {checked} pictures compared" if checked else ""
    lines = [f"int8 top-1 {_share(int8)}, by the {int8['by']}{check}"]
    if fp32 is None:
        return [f"fp32 top-1 and change: {NOT_MEASURED} (a quantized file has no float form)", *lines]
    return [
        f"fp32 top-1 {_share(fp32)}, by {fp32['by']}",
        *lines,
        f"change {_points(change['difference'])} points (paired 95 %: {_points(change['low'])} to "
        f"{_points(change['high'])}) on {change['pictures']} pictures; {change['only_before']} only fp32 got right, "
        f"{change['only_after']} only int8, same answer on {change['agreeing']}",
        *(line for name in ("fp32", "fp16") for line in _float_build(name, accuracy.get(f"{name}_build"))),
    ]


def _share(record: Mapping[str, Any]) -> str:
    return f"{record['top1']:.2%} (95 %: {record['low']:.2%} to {record['high']:.2%})"


def _float_build(name: str, record: Mapping[str, Any] | None) -> list[str]:
    if record is None:
        return []
    compiled = record["by"].startswith("compiled")  # by this machine, else by a reference
    who = f"the compiled {name} build" if compiled else f"the {record['by']} of the {name} build"
    return [
        f"{who} gives the same answer as PyTorch on {record['agreeing']} of {record['pictures']} pictures (top-1 "
        f"{record['top1']:.2%})"
    ]


def _accuracy(report: Mapping[str, Any]) -> list[str]:
    accuracy = report["accuracy"]
    if found := [line for build in report["builds"] for line in precision_lines(build, build["folder"])]:
        return [f"- {line}" for line in found]
    lines = [f"- {line}" for line in accuracy_lines(accuracy)]
    if accuracy["measured"]:
        test = accuracy["test"]
        broken = f", {len(test['broken'])} broken ones not counted" if test["broken"] else ""
        lines.append(f"- pictures: {test['pictures']} of {test['data']}, split {test['split']}{broken}")
    return lines


def _quantization(quantization: Mapping[str, Any]) -> list[str]:
    calibration, config = quantization["calibration"], quantization["config"]
    unknown = "not recorded in the file"
    repeated = f", {calibration['repeated']} of them copies of others," if calibration.get("repeated") else ""
    return [
        f"Calibration: {calibration.get('pictures', unknown)} pictures{repeated} of "
        f"{calibration.get('data', unknown)} (split {calibration.get('split', unknown)}); "
        f"{describe_observers(quantization)}, policy {config.get('policy', unknown)}. {quantization['operators']} "
        f"integer operators, program digest `{quantization['program_digest']}`.",
    ]


def _builds(builds: list[Mapping[str, Any]]) -> list[str]:
    rows = [
        (
            build["folder"],
            ", ".join(build["variants"]),
            f"{_model_megabytes(build):.2f} MB",
            f"{build['sizes']['bundle'] / MEGABYTE:.2f} MB",
            f"`{build['bundle_digest'][:16]}`",
        )
        for build in builds
    ]
    return markdown_lines(make_table(("bundle", "instruction sets", "model.so", "bundle", "bundle digest"), rows))


def _model_megabytes(build: Mapping[str, Any]) -> float:
    files = build["sizes"]["files"]
    return float(files[model_file(files)] / MEGABYTE)


def _verification(build: Mapping[str, Any]) -> list[str]:
    record = build["verification"]
    if not record["verified"]:
        where = "not verified under emulation" if build["target"] == "arm64" else "not verified"
        return [f"- {build['folder']}: {where}: {record['reason']} Verify it with `{record['command']}`"]
    lines = []
    for replay in record["replays"]:
        how = (
            f"within {replay['tolerance']:.2g} of the expected logits (largest difference "
            f"{replay['largest_difference']:.2g})"
            if replay["tolerance"]
            else "equal to the bit"
        )
        kind = "emulated, " if replay["emulated"] else ""
        lines.append(
            f"- {build['folder']}, {replay['variant']}: {replay['pictures']} pictures {how} ({kind}{replay['machine']})"
        )
    lines += [f"- {build['folder']}, {item['variant']}: not run: {item['reason']}" for item in record["not_run"]]
    return lines


def _latency(build: Mapping[str, Any]) -> list[str]:
    record = build["latency"]
    if not record["measured"]:
        return [f"- {build['folder']}: {NOT_MEASURED}. Measure it on a device: `{record['command']}`"]
    boards = [_latency_line(build, item) for item in build.get("boards", [])]
    return boards if "board" in record else [_latency_line(build, record), *boards]


def _latency_line(build: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    threads = f"{record['threads']} thread" + ("s" if record["threads"] > 1 else "")
    place = f", on {record['board']}" if "board" in record else ""
    throttled = ", THROTTLED" if record.get("throttled") else ""
    return (
        f"- {build['folder']}{place}: median {record['median_ms']:.3f} ms, p90 {record['p90_ms']:.3f} ms, min "
        f"{record['min_ms']:.3f} ms ({record['runs']} runs after {record['warmup']}, {threads}, variant "
        f"{record['variant']}, {record['core']}, clock {record['clock']}{throttled})"
    )


def board_accuracy_lines(build: Mapping[str, Any]) -> list[str]:
    """Return the accuracy that boards measured themselves."""
    return [
        f"- {build['folder']}, on {it['board']}: top-1 {_share(it)}, measured there on {it['pictures']} pictures of "
        f"{it['data']}"
        + (f", all scores equal to the {it['reference']} to the bit" if it["equal"] is not None else "")
        + f"; one picture: median {it['median_ms']:.3f} ms, p90 {it['p90_ms']:.3f} ms, p99 {it['p99_ms']:.3f} ms, "
        f"{_state(it['before'])} before and {_state(it['after'])} after{', THROTTLED' if it['throttled'] else ''}"
        for it in build.get(BOARD_ACCURACY, [])
    ]


def _state(state: Mapping[str, Any]) -> str:
    """Return a clock and a temperature, as far as the board says them."""
    clock, degrees = state["clock_khz"], state["temperature_c"]
    said = [f"{clock / 1e6:.2f} GHz"] if clock else []
    said += [f"{degrees:.1f} degrees"] if degrees is not None else []
    return ", ".join(said) or "clock not reported"


def summary_lines(report: Mapping[str, Any]) -> list[str]:
    """Return what a run prints at its end."""
    lines = ["", *accuracy_lines(report["accuracy"])]
    for build in report["builds"]:
        name = model_file(build["sizes"]["files"])
        lines.append(f"{build['folder']}: {name} {_model_megabytes(build):.2f} MB")
        lines += [f"  {line.removeprefix('- ').partition(', ')[2]}" for line in _verification(build) if ", " in line]
        lines += [f"  latency: {line.partition(': ')[2]}" for line in _latency(build)]
    lines += ["", "next:", *[f"  {entry['command']}   # {entry['does']}" for entry in report["next"]]]
    return lines
