"""Files of a hub on this machine, right, changed, too large and absent; the hub's own client in between."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import huggingface_hub
import pytest

import repghost
from calib.importer.onnx_file import is_quantized
from repghost.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from repghost.errors import IntegrityError, RepGhostError, ToolMissingError, UsageError
from repghost.hub import download
from repghost.hub.download import fetched, local_file, published_file, source_name
from repghost.untrusted import file_digest
from tests.support.hub_server import FakeHub
from tests.support.networks import network
from tests.support.qdq_models import mini_net


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("birds") / "birds.safetensors"
    write_checkpoint(path, network())
    return path


@pytest.fixture
def birds(hub: FakeHub, checkpoint: Path) -> FakeHub:
    """A hub with a checkpoint and a quantized network."""
    hub.repositories["me/birds"] = {
        "model.safetensors": checkpoint.read_bytes(),
        "model.qdq.onnx": mini_net().SerializeToString(),
        "README.md": b"# Birds\n",
    }
    return hub


def test_a_checkpoint_of_the_hub_is_read_like_a_file(
    birds: FakeHub, capsys: pytest.CaptureFixture[str], checkpoint: Path
) -> None:
    found = read_checkpoint(Path("hf://me/birds"))
    assert found.digest == file_digest(checkpoint)
    commit = birds.commit("me/birds")
    said = capsys.readouterr().err
    assert (
        f"is revision {commit}, sha256 {found.digest}" in said and f"hf://me/birds@{commit}/model.safetensors" in said
    )
    assert source_name("hf://me/birds") == f"hf://me/birds@{commit}/model.safetensors"
    assert source_name("a/b.safetensors") == "b.safetensors"


def test_one_process_reads_one_revision(birds: FakeHub) -> None:
    first = fetched("hf://me/birds")
    birds.repositories["me/birds"]["README.md"] = b"another commit"
    assert fetched("hf:/me/birds/model.safetensors") == first


def test_a_pinned_file_that_is_here_needs_no_network(birds: FakeHub) -> None:
    _, address = fetched("hf://me/birds")
    download._fetched.cache_clear()
    birds.asked.clear()
    assert fetched(str(address))[1] == address and birds.asked == []


def test_a_quantized_network_of_the_hub(birds: FakeHub) -> None:
    assert is_quantized(Path("hf://me/birds/model.qdq.onnx"))


@pytest.mark.slow
def test_a_network_by_its_address(birds: FakeHub) -> None:
    model = repghost.create_model("hf://me/birds", pretrained=True)
    weights = network().state_dict()
    assert all(value.equal(weights[name]) for name, value in model.state_dict().items())
    assert repghost.create_model("hf://me/birds", pretrained=True, num_classes=3).num_classes == 3
    assert repghost.load_model("hf://me/birds").num_classes == 7
    fresh = repghost.create_model("hf://me/birds")
    assert fresh.num_classes == 7 and not fresh.classifier.weight.equal(weights["classifier.weight"])


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://me/fish", "the hub shows no hf://me/fish"),
        ("hf://me/birds@v9", "has no revision 'v9'"),
        ("hf://me/birds/small.safetensors", "the repository holds README.md, model.qdq.onnx, model.safetensors"),
    ],
)
def test_what_is_not_there(birds: FakeHub, address: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        local_file(Path(address))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_the_listed_one_is_refused(birds: FakeHub) -> None:
    birds.lies["model.safetensors"] = birds.repositories["me/birds"]["model.safetensors"][:-1] + b"!"
    with pytest.raises(IntegrityError, match=r"the hub lists"):
        local_file(Path("hf://me/birds"))
    birds.lies["README.md"] = b"# Fish.\n"  # as long, kept by Git's SHA-1
    with pytest.raises(IntegrityError, match=r"the hub lists"):
        local_file(Path("hf://me/birds/README.md"))


def test_a_file_that_is_too_large_is_not_fetched(birds: FakeHub) -> None:
    birds.sizes["model.safetensors"] = (1 << 30) + 1
    with pytest.raises(UsageError, match=r"1073741825 bytes; at most 1073741824"):
        local_file(Path("hf://me/birds"))
    assert not any("/resolve/" in path for path in birds.asked)


def test_too_many_files_are_refused(birds: FakeHub) -> None:
    birds.repositories["me/birds"] |= {f"{number}.txt": b"" for number in range(1000)}
    with pytest.raises(UsageError, match="1003 files"):
        local_file(Path("hf://me/birds"))


def test_pickled_weights_are_read_without_running_them(birds: FakeHub) -> None:
    birds.repositories["me/birds"]["evil.pth"] = b"\x80\x04cposix\nsystem\n\x8c\x04true\x85R."
    with pytest.raises(UsageError, match="is not a checkpoint"):
        read_checkpoint(Path("hf://me/birds/evil.pth"))


def test_published_weights_come_from_the_hub_once(hub: FakeHub) -> None:
    data = b"weights"
    hub.repositories["timm/repghostnet_050.in1k"] = {"model.safetensors": data}
    path = published_file("timm/repghostnet_050.in1k", "model.safetensors")
    hub.asked.clear()
    assert path.read_bytes() == data and published_file("timm/repghostnet_050.in1k", "model.safetensors") == path
    assert hub.asked == []


def test_a_hub_that_does_not_answer_costs_the_limit_and_no_more(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "FIRST_ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(RepGhostError, match=r"could not reach hf://me/birds.*Check the network") as raised:
            local_file(Path("hf://me/birds"))
    assert time.monotonic() - began < 5 and raised.value.exit_code == 1 and "\n" not in str(raised.value)


def test_without_the_package_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ToolMissingError, match="pip install huggingface_hub"):
        local_file(Path("hf://me/never"))
