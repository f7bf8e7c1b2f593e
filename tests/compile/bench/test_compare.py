"""Paired turns: what is measured, what is made of it, and what happens to a runtime that cannot take part."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from compile.bench import processes
from compile.bench.compare import FEWEST_ROUNDS, Entry, Field, Settings, left_out, measure_rounds, run_bench
from compile.bench.compare_page import render_bench
from compile.bench.peers import PEERS, Limit, parse_peers
from compile.bench.peers.inputs import PeerInputs
from compile.bench.peers.worker import predict_images
from compile.bench.prepare_inputs import Prepared, prepare
from compile.bench.processes import (
    Contender,
    ContenderError,
    Identity,
    limited_inputs,
    link_packages,
    logits_of,
    start_ours,
    start_peer,
)
from compile.bench.statistics import Times, agreement, is_narrow, median_interval, paired_ratio
from compile.bundle.manifest import check_bundle
from compile.targets.features import AVX2, AVXVNNI
from compile.targets.table import Target, Variant, find_target
from repghost.cli import cli
from repghost.errors import IntegrityError, ToolMissingError, UsageError
from repghost.exporters.onnx import graph_onnx
from repghost.graph.module import GraphModule
from repghost.graph.run import fast_kernels
from repghost.graph.run import run as run_graph
from tests.support.fake_detector import write_detector
from tests.support.small_detector import PREPROCESS, SIZE, detector_graph, pictures


def program(ms: float | str, ready: str = '{"version": "9"}') -> list[str]:
    loop = f"for line in sys.stdin: print(json.dumps([{ms}] * int(line)), flush=True)"
    return [sys.executable, "-c", f"import json, sys, time; print({ready!r}, flush=True)\n{loop}"]


def contender(tmp_path: Path, command: list[str], name: str = "other fp32") -> Contender:
    identity = Identity(name, "other", "fp32", "a test")
    return Contender(identity, command, dict(os.environ), tmp_path / "log")


@pytest.fixture
def prepared(host_bundle: Path, tmp_path: Path) -> Prepared:
    folder = tmp_path / "inputs"
    folder.mkdir()
    link_packages(folder)
    return prepare(check_bundle(host_bundle), folder, None, frozenset())


def test_the_runner_answers_turns(host_bundle: Path, tmp_path: Path) -> None:
    ours = start_ours(check_bundle(host_bundle), None, 2, warmup=1, folder=tmp_path)
    try:
        assert [len(ours.turn(count)) for count in (3, 1, 7)] == [3, 1, 7]
        assert all(time > 0 for time in ours.turn(5))
        assert ours.variant
        with pytest.raises(ContenderError, match="a turn has 1 to"):
            ours.turn(0)
    finally:
        ours.close()


def test_a_runtime_that_stops_talking_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "END_LIMIT_S", 0.2)
    with pytest.raises(ContenderError, match="code -9"):
        contender(tmp_path, ["sh", "-c", "exec >&-; exec sleep 100"])
    monkeypatch.setattr(processes, "PREPARATION_LIMIT", 0.2)
    with pytest.raises(ContenderError, match=r"other fp32 .*0\.2 s"):
        contender(tmp_path, ["sleep", "100"])


def test_a_runtime_that_is_absent_or_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="'openvino' is not installed"):
        contender(tmp_path, program(1, '{"missing": "openvino"}'))
    with pytest.raises(ContenderError, match="no such operator"):
        contender(tmp_path, program(1, '{"failed": "no such operator"}'))
    with pytest.raises(ContenderError, match="code 3: last words"):
        contender(tmp_path, [sys.executable, "-c", "import sys; print('last words', file=sys.stderr); sys.exit(3)"])


def test_a_runtime_that_computes_no_scores_is_not_compared(prepared: Prepared) -> None:
    answers = iter([[1.0, 2.0]] * 12 + [[1.0, float("nan")]] * 12)
    session: Any = SimpleNamespace(feed=lambda _: None, run=lambda: None, logits=lambda: np.array(next(answers)))
    assert predict_images(session, prepared.inputs).shape == (12, 2)
    with pytest.raises(ValueError, match="not finite"):
        predict_images(session, prepared.inputs)


def test_every_contender_has_one_turn_per_round_and_one_that_dies_is_left_out(tmp_path: Path) -> None:
    dying = [sys.executable, "-c", "print('{}', flush=True); input(); print('[1, 1]', flush=True); input()"]
    field = Field(
        [contender(tmp_path, program(2), "a"), contender(tmp_path, dying, "b"), contender(tmp_path, program(4), "c")]
    )
    times = measure_rounds(field, Settings(rounds=5, inferences=2))
    assert [it.identity.name for it in field.contenders] == ["a", "c"]
    assert [it.values.shape for it in times] == [(5, 2), (5, 2)]
    assert field.absent[0]["name"] == "b" and "ended with code" in field.absent[0]["reason"]
    assert paired_ratio(times[0].of_rounds, times[1].of_rounds)["median"] == 0.5
    for it in field.contenders:
        it.close()


def test_rounds_end_where_the_ratio_to_the_fastest_is_known(tmp_path: Path) -> None:
    def rounds(spread: float, *others: tuple[str, str]) -> int:
        ours = Identity("ours", "repghost", "int8", "a test", "plain", ours=True)
        field = Field([Contender(ours, program("2"), dict(os.environ), tmp_path / "ours")])
        for ms, variant in others:
            identity = Identity("other", "other", "fp32", "a test", variant)
            field.contenders.append(Contender(identity, program(ms), dict(os.environ), tmp_path / "log"))
        measured = measure_rounds(field, Settings(rounds=12, inferences=1, spread=spread))[0].values
        for it in field.contenders:
            it.close()
        return len(measured)

    noisy = "time.perf_counter_ns() % 1000 + 1"
    assert [rounds(spread, ("4", "")) for spread in (0, 0.01)] == [12, FEWEST_ROUNDS]
    assert rounds(0.01, ("0.5", ""), (noisy, "plain")) == 12  # what is held to the instruction set of ours counts
    assert rounds(0.01, (noisy, ""), ("4", "plain")) == FEWEST_ROUNDS
    assert not is_narrow({"median": 0.5, "low": 0.49, "high": 0.51}, 0.03)


def test_the_ratio_is_that_of_pairs() -> None:
    """A load that slows whole rounds down leaves the ratio alone, and so does one disturbed turn."""
    load = np.array([1.0, 2.0, 9.0, 1.0, 9.0, 30.0, 30.0, 1.0, 5.0, 7.0])
    assert paired_ratio(load, load * 2) == {"median": 0.5, "low": 0.5, "high": 0.5}
    disturbed = load.copy()
    disturbed[3] *= 50
    assert paired_ratio(disturbed, load * 2)["median"] == 0.5
    assert paired_ratio(np.array([1.0, 4.0, 2.0]), np.array([1.0, 1.0, 1.0]))["median"] == 2.0


@pytest.mark.parametrize("count", [1, 2, 5, 10, 30, 101])
def test_the_interval_of_the_median_covers_it_as_promised(count: int) -> None:
    low, high = median_interval(count)
    assert 0 <= low <= (count - 1) / 2 <= high <= count - 1
    if count < 10:
        return
    values = np.sort(np.random.default_rng(0).normal(size=(4000, count)), axis=1)
    covered = np.mean((values[:, low] <= 0) & (values[:, high] >= 0))
    assert 0.93 <= covered <= 0.99


def test_times_are_summed_up_over_all_inferences() -> None:
    times = Times(np.arange(1.0, 21.0).reshape(4, 5))
    assert times.to_dict() == {"inferences": 20, "min_ms": 1.0, "median_ms": 10.5, "p90_ms": 18.0}
    assert times.of_rounds.tolist() == [1, 6, 11, 16]


def test_agreement_counts_images() -> None:
    ours = np.eye(4, dtype=np.float32)
    other = ours.copy()
    other[2] = -other[2]
    found = agreement(other, ours, ours)
    assert found == {"pictures": 4, "with_ours": 3, "with_float": 3, "lowest_cosine": -1.0}
    assert "with_float" not in agreement(other, ours, None)
    several = agreement(other, ours, None, classes=False)  # maps name no class
    assert set(several) == {"pictures", "lowest_cosine_with_ours"} and several["lowest_cosine_with_ours"] < 1
    with pytest.raises(IntegrityError, match="shape"):
        agreement(other[:, :3], ours, None)


def test_a_bundle_alone_is_measured_with_every_number_of_threads(host_bundle: Path, prepared: Prepared) -> None:
    bundle, said = check_bundle(host_bundle), list[str]()
    plainest = bundle.manifest["variants"][0]
    settings = Settings(threads=(1, 2), rounds=3, inferences=2)
    result = run_bench([Entry(bundle), Entry(bundle, plainest)], (), prepared, settings, said.append)
    assert [run["threads"] for run in result["runs"]] == [1, 2]
    for run in result["runs"]:
        first, second = run["results"]
        assert first["ratio"] is None and second["ratio"]["low"] <= second["ratio"]["median"] <= second["ratio"]["high"]
        assert second["variant"] == plainest and second["agreement"]["with_ours"] == 12
        assert len(first["rounds_ms"]) == 3 and 0 < first["min_ms"] <= first["median_ms"] <= first["p90_ms"]
    assert json.loads(json.dumps(result)) == result
    text = render_bench(result)
    assert "2 threads" in text and f"repghost int8 {plainest}" in text


def test_a_detector_is_not_said_to_name_a_class(host: Target, host_files: dict[str, bytes], tmp_path: Path) -> None:
    bundle = check_bundle(write_detector(tmp_path / "detector", host, host_files))
    inputs = prepare(bundle, tmp_path, None, frozenset())
    result = run_bench([Entry(bundle)] * 2, (), inputs, Settings(rounds=1, inferences=1), print)
    assert "with_ours" not in result["runs"][0]["results"][1]["agreement"]
    text = render_bench(result)
    assert "lowest cosine with ours" in text and "1.0000" in text and "class" not in text


def test_no_peer_at_all_is_an_error_that_says_what_to_do(host_bundle: Path, prepared: Prepared) -> None:
    with pytest.raises(ToolMissingError, match=r"nothing could be compared.*model\.fused\.safetensors is not there"):
        run_bench([Entry(check_bundle(host_bundle))], parse_peers("onnxruntime"), prepared, Settings(rounds=1), print)


def test_files_of_another_network_are_not_compared_with(prepared: Prepared) -> None:
    """The hand-written bundle lies in no run, so there is nothing to give to others, and each absence has a reason."""
    assert (prepared.inputs.onnx, prepared.inputs.qdq) == (None, None)
    assert all("weights=FILE" in prepared.why_absent(kind) for kind in ("onnx", "qdq"))


@pytest.mark.parametrize("flags", [frozenset(), frozenset({"avx512_vnni"}), frozenset({"avx_vnni"})])
def test_peers_that_saturate_are_told_so(host_bundle: Path, tmp_path: Path, flags: frozenset[str]) -> None:
    inputs = prepare(check_bundle(host_bundle), tmp_path, None, flags).inputs
    assert inputs.saturates == (os.uname().machine == "x86_64" and not flags)
    assert PeerInputs.from_json(inputs.to_json()) == inputs


def test_a_runtime_is_held_by_its_switches_and_others_say_that_they_have_none(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[Identity, dict[str, str]]] = []
    monkeypatch.setattr(
        processes, "Contender", lambda identity, _command, given, _log: started.append((identity, given))
    )
    peer = replace(PEERS["openvino"], limits=(Limit("plain", (("MAX_ISA", "PLAIN"),)),))
    (limit,) = peer.limits
    machine = replace(find_target("x86-64"), variants=(Variant("plain", "", (AVX2,)), Variant("fast", "", (AVXVNNI,))))
    monkeypatch.setattr(processes, "find_target", lambda _: machine)
    start_peer(peer, peer.forms[1], prepared.inputs, 1, 0, limit=limit)
    ((identity, environment),) = started
    assert (identity.name, identity.variant, environment["MAX_ISA"]) == ("openvino int8 plain", "plain", "PLAIN")
    assert identity.made_by == "NNCF, held by MAX_ISA=PLAIN"
    held = PeerInputs.from_json((prepared.inputs.folder / "plain" / "inputs.json").read_text())
    assert held.saturates and not limited_inputs(prepared.inputs, Limit("fast", ())).saturates
    with pytest.raises(ContenderError, match="saturate with plain"):
        start_peer(peer, next(form for form in peer.forms if form.needs == "qdq"), prepared.inputs, 1, 0, limit=limit)
    assert left_out(peer, ("plain",)) == []
    assert [it["name"] for it in left_out(PEERS["mnn"], ("plain",))] == ["mnn plain"]


def test_the_table_of_peers() -> None:
    assert [peer.name for peer in parse_peers("mnn, onnxruntime")] == ["onnxruntime", "mnn"]
    assert parse_peers("all") == tuple(PEERS.values())
    with pytest.raises(UsageError, match="Did you mean 'openvino'"):
        parse_peers("openvin")
    for peer in PEERS.values():
        assert len({form.name for form in peer.forms}) == len(peer.forms)
        assert {limit.variant for limit in peer.limits} <= {variant.name for variant in find_target("x86-64").variants}
        assert peer.command(Path("/x/python")).startswith("/x/python -m pip install ")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "give the folder of a bundle"),
        (["BUNDLE", "--bars"], 2, "No such option"),
        (["BUNDLE", "--threads", "0"], 2, "whole numbers from 1 to 64"),
        (["BUNDLE", "--against", "tensorflow"], 2, "unknown runtime"),
        (["BUNDLE", "--precision", "int4"], 2, "unknown precision"),
        (["BUNDLE", "--variant", "sse9"], 2, "unknown variant"),
        (["BUNDLE", "--keep", "x"], 2, "--per-layer"),
        (["BUNDLE", "--python", "/nonexistent/python"], 2, "is no file"),
        (["BUNDLE", "--weights", "/nonexistent.onnx"], 2, "is no file"),
        (["BUNDLE", "--against", "onnxruntime", "--rounds", "1"], 4, "nothing could be compared"),
    ],
)
def test_wrong_use_of_the_command(host_bundle: Path, arguments: list[str], code: int, message: str) -> None:
    words = [str(host_bundle) if word == "BUNDLE" else word for word in arguments]
    done = CliRunner().invoke(cli, ["bench", *words])
    assert (done.exit_code, message in done.output) == (code, True), done.output


def test_an_absent_runtime_is_named_with_its_command(
    host_bundle: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object) -> Contender:
        raise ToolMissingError("the Python package 'openvino' is not installed")

    monkeypatch.setattr("compile.bench.compare.start_peer", absent)
    inputs = replace(prepared.inputs, onnx=prepared.inputs.inputs)
    entry = Entry(check_bundle(host_bundle))
    with pytest.raises(ToolMissingError, match=r"openvino int8: .*not installed; pip install openvino nncf\."):
        run_bench([entry], parse_peers("openvino"), replace(prepared, inputs=inputs), Settings(rounds=1), print)


@pytest.fixture(scope="module")
def small_inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[PeerInputs, np.ndarray[Any, Any]]:
    """A 0.5x of random weights at 32 px as other runtimes get it, and what PyTorch says about its images."""
    from compile.subject.from_random_weights import random_subject
    from compile.subject.noise import noise_images
    from repghost.evaluation.accuracy import predict
    from repghost.exporters.onnx import to_bytes, to_onnx
    from repghost.network.fuse import fuse

    folder = tmp_path_factory.mktemp("small")
    subject = random_subject("0.5", 32, seed=0)
    network, preprocess, images = fuse(subject.model), subject.preprocess, noise_images(4, 32, seed=5)
    (folder / "model.onnx").write_bytes(to_bytes(to_onnx(network, 32)))
    np.save(folder / "pictures.npy", images)
    np.save(folder / "inputs.npy", preprocess.normalize(images))
    link_packages(folder)
    files = {"images": folder / "pictures.npy", "inputs": folder / "inputs.npy", "onnx": folder / "model.onnx"}
    inputs = PeerInputs(folder, qdq=None, mean=preprocess.mean, std=preprocess.std, saturates=True, **files)
    return inputs, predict(network, images, preprocess)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "bound"), [("fp32", 0.99999), ("int8", 0.8)])
def test_onnx_runtime_answers_as_the_network_does(
    small_inputs: tuple[PeerInputs, np.ndarray[Any, Any]], form: str, bound: float
) -> None:
    inputs, expected = small_inputs
    peer = PEERS["onnxruntime"]
    row = next(it for it in peer.forms if it.name == form)
    running = start_peer(peer, row, inputs, threads=1, warmup=0)
    try:
        assert len(running.turn(2)) == 2 and running.version
        scores = np.load(logits_of(running.identity, inputs), allow_pickle=False)
    finally:
        running.close()
    assert agreement(scores, expected, expected)["lowest_cosine"] > bound


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnn", "ncnn", "onnxruntime"])
def test_several_results_come_in_the_order_of_the_bundle(name: str, tmp_path: Path) -> None:
    """A runtime may rename and reorder them; each gives maps [1, C, H, W], a bundle pixel by pixel."""
    if any(importlib.util.find_spec(package) is None for package in {"mnn": ["MNN"]}.get(name, PEERS[name].packages)):
        pytest.skip(f"{name} is not installed")
    graph, images = detector_graph(), pictures()[:1]
    (tmp_path / "heads.onnx").write_bytes(graph_onnx(graph, SIZE, "small").SerializeToString())
    np.save(tmp_path / "inputs.npy", PREPROCESS.normalize(images))
    np.save(tmp_path / "pictures.npy", images)
    inputs = PeerInputs(
        tmp_path, tmp_path / "heads.onnx", None, tmp_path / "pictures.npy", tmp_path / "inputs.npy", PREPROCESS.mean,
        PREPROCESS.std, False, tuple(f"{result}.result" for result in graph.results),
    )  # fmt: skip
    module: Any = importlib.import_module(PEERS[name].module)
    session = module.open_session(module.prepare(inputs, "fp32"), inputs, "fp32", 1)
    session.feed(inputs.load_inputs())
    session.run()
    seen = dict[str, np.ndarray[Any, Any]]()
    module_of = GraphModule(graph).eval()
    run_graph(graph, fast_kernels(module_of.parameters_of), torch.from_numpy(inputs.load_inputs()),
        lambda tensor, value: seen.update({tensor: value.detach().numpy()}))  # fmt: skip
    expected = np.concatenate([np.moveaxis(seen[it], 1, -1).reshape(1, -1) for it in graph.results], axis=1)
    np.testing.assert_allclose(session.logits(), expected, rtol=1e-3, atol=1e-4)
