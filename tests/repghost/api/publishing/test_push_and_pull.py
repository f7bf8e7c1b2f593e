"""What is pushed to a hub on this machine comes back as it was; what others put there is checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import repghost
from compile.bundle.manifest import MANIFEST, check_bundle, write_bundle
from compile.targets.table import TARGETS
from repghost.checkpoints.checkpoint import write_checkpoint
from repghost.cli import cli
from repghost.detection.checkpoint import Category, Detector, write_detector
from repghost.detection.recipe import DetectionRecipe
from repghost.detection.train import build
from repghost.errors import IntegrityError, UsageError
from tests.support.fake_bundle import LABELS, PREPROCESS, fake_sections
from tests.support.hub_server import FakeHub
from tests.support.networks import network
from tests.support.qdq_models import mini_net, save

ARM64 = TARGETS["arm64"]
# The hub's own client uploads in a way that its transport calls old.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("birds") / "mine.safetensors"
    names = [f"bird {number}" for number in range(7)]
    made = {"license": "MIT", "epochs": 3, "test": {"top1": 0.9273, "pictures": 10000}}
    write_checkpoint(path, network(), PREPROCESS.to_dict(), names, made)
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose files are no programs: nothing here runs them."""
    files = dict.fromkeys(sorted(ARM64.form.files), b"\x7fELF") | {"labels.txt": "\n".join(LABELS).encode() + b"\n"}
    return write_bundle(tmp_path / "int8", files, fake_sections(ARM64)).path


def test_a_checkpoint_goes_there_with_a_card_and_comes_back(hub: FakeHub, checkpoint: Path, tmp_path: Path) -> None:
    pushed = repghost.push(checkpoint, "hf://me/birds")
    there = hub.repositories["me/birds"]
    assert set(there) == {"model.safetensors", "model.safetensors.md", "README.md"}
    assert there["model.safetensors"] == checkpoint.read_bytes() and there["README.md"] == there["model.safetensors.md"]
    card = there["README.md"].decode()
    head = card.split("---\n")[1]
    assert 'license: "mit"' in head and '"safetensors"' in head and 'library_name: "repghost-deploy"' in head
    assert "--weights hf://me/birds/model.safetensors" in card and '"bird 0", "bird 1"' in card
    assert "Top-1 92.73% on 10,000 test images" in card
    assert pushed.files["model.safetensors"] in card and '"epochs": 3' in card
    pulled = repghost.pull(pushed.address, tmp_path / "here")
    assert pulled.address == pushed.address and hub.commit("me/birds") in pushed.address
    assert (tmp_path / "here/model.safetensors").read_bytes() == checkpoint.read_bytes()
    assert pulled.files["model.safetensors"] == pushed.files["model.safetensors"]


def test_a_detector_says_what_it_is(hub: FakeHub, tmp_path: Path) -> None:
    recipe = DetectionRecipe("ssdlite", 0.25, min_size=64, max_size=64)
    found = Detector(build(recipe, 1), recipe, (Category(7, "cat"),), "train", {"epoch": 3})
    write_detector(tmp_path / "cats.safetensors", found)
    repghost.push(tmp_path / "cats.safetensors", "hf://me/cats")
    card = hub.repositories["me/cats"]["README.md"].decode()
    assert 'pipeline_tag: "object-detection"' in card and 'Classes: 1 ("cat")' in card
    assert "repghost detect-validate model.safetensors" in card


def test_a_bundle_goes_there_and_comes_back_ready_to_run(hub: FakeHub, bundle: Path, tmp_path: Path) -> None:
    repghost.push(bundle, "hf://me/birds")
    there = hub.repositories["me/birds"]
    assert {f"arm64/int8/{path.name}" for path in bundle.iterdir()} == set(there) - {"arm64/int8.md", "README.md"}
    there["notes.txt"] = there[".hidden"] = b"of somebody"
    pulled = repghost.pull("hf://me/birds", tmp_path / "here")
    assert pulled.bundles == {"arm64/int8": check_bundle(bundle).digest}
    assert pulled.left_out == (".hidden", "notes.txt") and set(pulled.files) == {"README.md", "arm64/int8.md"}
    assert (tmp_path / "here/arm64/int8/repghost-run").stat().st_mode & 0o111
    assert repghost.pull("hf://me/birds/arm64/int8", tmp_path / "here").bundles == pulled.bundles


def test_a_signature_goes_with_its_bundle_and_a_report_s_card_is_taken(hub: FakeHub, bundle: Path) -> None:
    bundle.with_name("int8.sig").write_bytes(b"signed")
    bundle.with_name("int8.md").write_text("---\ntags: [mine]\n---\n")
    repghost.push(bundle, "hf://me/birds/boards/one", message="First")
    there = hub.repositories["me/birds"]
    assert there["boards/one.sig"] == b"signed" and there["boards/one.md"].startswith(b"---\ntags: [mine]")


def test_a_second_push_leaves_the_readme(hub: FakeHub, checkpoint: Path, tmp_path: Path) -> None:
    hub.repositories["me/birds"] = {"README.md": b"by hand"}
    repghost.push(checkpoint, "hf://me/birds")
    repghost.push(save(mini_net(), tmp_path), "hf://me/birds")
    there = hub.repositories["me/birds"]
    assert there["README.md"] == b"by hand" and b"int8 ONNX" in there["model.qdq.onnx.md"]


def test_pickles_and_wrong_names_are_not_pushed(hub: FakeHub, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "old.pth").write_bytes(b"x")
    for given, address, said in (
        (tmp_path / "old.pth", "hf://me/birds", "has to be safetensors"),
        (checkpoint, "hf://me/birds/a.onnx", r"has to end in \.safetensors"),
        (checkpoint, f"hf://me/birds@{'0' * 40}", "nobody can change"),
        (checkpoint, "me/birds", "is no address"),
        ("hf://me/birds", "hf://me/birds", "on the hub already"),
    ):
        with pytest.raises(UsageError, match=said):
            repghost.push(given, address)
    assert hub.repositories == {}


@pytest.mark.parametrize("said", ["7", '{"mean": "no"}', '["a"]', "{"])
def test_odd_metadata_of_others_is_a_sentence(hub: FakeHub, tmp_path: Path, said: str) -> None:
    model = mini_net()
    for key in ("repghost.labels", "repghost.preprocess", "repghost.quantization"):
        model.metadata_props.add(key=key, value=said)
    with pytest.raises(UsageError):
        repghost.push(save(model, tmp_path), "hf://me/birds")


def test_who_is_not_logged_in_is_told_how(hub: FakeHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UsageError, match="hf auth login"):
        repghost.push(checkpoint, "hf://me/birds")


def test_a_bundle_that_was_changed_there_is_not_written(hub: FakeHub, bundle: Path, tmp_path: Path) -> None:
    repghost.push(bundle, "hf://me/birds")
    hub.repositories["me/birds"]["arm64/int8/model.so"] = b"\x7fELG"
    with pytest.raises(IntegrityError, match="model"):
        repghost.pull("hf://me/birds", tmp_path / "here")
    assert not (tmp_path / "here/arm64/int8").exists()


def test_foreign_names_never_leave_the_folder(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["me/birds"] = {"../../x.onnx": b"x", "/etc/x.onnx": b"x", "a/\x1b[2J.onnx": b"x", "n.onnx": b"n"}
    pulled = repghost.pull("hf://me/birds", tmp_path / "here")
    assert set(pulled.files) == {"n.onnx"} and len(pulled.left_out) == 3 and "\x1b" not in repr(pulled)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["n.onnx"]


def test_what_is_here_already_stays(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["me/birds"] = {"README.md": b"theirs", "a.onnx": b"a"}
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UsageError, match=r"README.md is there already and differs"):
        repghost.pull("hf://me/birds", tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine" and not (tmp_path / "a.onnx").exists()


def test_nothing_to_fetch_is_said(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories["me/birds"] = {"run.py": b"import os"}
    with pytest.raises(UsageError, match=r"nothing to fetch.*It holds run\.py"):
        repghost.pull("hf://me/birds", tmp_path)


def test_the_commands(hub: FakeHub, bundle: Path, tmp_path: Path) -> None:
    pushed = CliRunner().invoke(cli, ["push", str(bundle), "hf://me/birds", "--json"])
    assert pushed.exit_code == 0, pushed.output
    address = json.loads(pushed.stdout)["address"]
    assert address == f"hf://me/birds@{hub.commit('me/birds')}/arm64/int8"
    pulled = CliRunner().invoke(cli, ["pull", address, "-o", str(tmp_path / "here")])
    assert pulled.exit_code == 0 and f"repghost verify {tmp_path}/here/arm64/int8" in pulled.stdout
    (tmp_path / "here/arm64/int8" / MANIFEST).write_bytes(b"{}")
    again = CliRunner().invoke(cli, ["pull", address, "-o", str(tmp_path / "here")])
    assert again.exit_code == 2 and "is there already and differs" in again.output
