"""`repghost pack`: a container image of bundles, reproducible, valid, and what is in it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import repghost
from compile.bundle.manifest import Bundle, check_bundle
from compile.oci import image
from compile.oci.layout import parse_name
from compile.storage.files import sha256
from compile.targets.table import ANDROID, ARM64, TARGETS, X86_64, Target
from repghost.cli import cli
from repghost.data.names.class_names import to_lines
from repghost.errors import AccuracyGateError, IntegrityError, UsageError
from tests.support.damaged_bundles import edit
from tests.support.deployed_bundles import PASSING, bundle_of
from tests.support.fake_bundle import LABELS
from tests.support.oci import Layout, find_validator

RUNNER = b"a static runner"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Of each kind of machine, made of any bytes: nothing of it is run."""
    folder = tmp_path_factory.mktemp("bundles")
    files = {"model.so": b"code", "repghost-run": b"a runner", "repghost.h": b"", "vectors.bin": b"images"}
    files["labels.txt"] = to_lines(LABELS)
    return {
        target.name: bundle_of(files, target, folder / target.name) for target in TARGETS.values() if target.container
    }


@pytest.fixture
def no_linker(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    asked: list[Target] = []
    monkeypatch.setattr(image, "stored_runner", lambda target: asked.append(target) or RUNNER)
    return asked


@pytest.fixture
def packed(bundles: dict[str, Bundle], no_linker: list[Target], tmp_path: Path) -> Layout:
    repghost.pack([bundles["arm64"].path, bundles["x86-64"].path], oci=tmp_path / "oci", name="registry.example/net:1")
    return Layout(tmp_path / "oci")


def test_one_index_holds_an_image_for_each_machine(packed: Layout, bundles: dict[str, Bundle]) -> None:
    assert json.loads((packed.path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert packed.named["annotations"]["org.opencontainers.image.ref.name"] == "1"
    assert packed.named["annotations"]["io.containerd.image.name"] == "registry.example/net:1"
    assert [entry["platform"] for entry in packed.entries] == [
        {"architecture": "arm64", "os": "linux"}, {"architecture": "amd64", "os": "linux"},
    ]  # fmt: skip
    for target in (ARM64, X86_64):
        assert target.container is not None
        config = packed.config(target.container.architecture)
        assert config["config"]["User"] == "65534:65534"
        assert config["config"]["Entrypoint"] + config["config"]["Cmd"] == [
            "/repghost-run", "--bundle", "/bundle", "--watch", "/incoming",
        ]  # fmt: skip
        labels = config["config"]["Labels"]
        assert labels["repghost.bundle.digest"] == bundles[target.name].digest
        assert labels["repghost.runner.digest"] == sha256(RUNNER)
        assert json.loads(labels["repghost.accuracy"]) == PASSING
        assert "repghost.signature" not in labels
    known = {entry.name for entry in (packed.path / "blobs/sha256").iterdir()}
    parts = [packed.named, *packed.entries]
    parts += [it for manifest in packed.manifests.values() for it in (manifest["config"], *manifest["layers"])]
    assert known == {it["digest"].removeprefix("sha256:") for it in parts}, "nothing lies there that nobody names"


def test_the_files_of_an_image(packed: Layout, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    root = packed.unpack("arm64", tmp_path / "root")
    assert (root / "repghost-run").read_bytes() == RUNNER
    assert check_bundle(root / "bundle").digest == bundles["arm64"].digest
    assert sorted(it.name for it in root.iterdir()) == ["bundle", "incoming", "repghost-run"]
    layers = [packed.place(it) for it in packed.manifests["arm64"]["layers"]]
    members: list[tarfile.TarInfo] = []
    for layer in layers:
        with tarfile.open(layer) as archive:
            members += archive.getmembers()
    assert {(it.uid, it.gid, it.mtime, it.uname, it.gname) for it in members} == {(0, 0, 0, "", "")}
    assert all(it.isdir() or not it.mode & 0o222 for it in members), "nobody writes to a file of it"
    diffs = packed.config("arm64")["rootfs"]["diff_ids"]
    assert diffs == [it["digest"] for it in packed.manifests["arm64"]["layers"]]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("no_linker")
def test_the_same_bundles_give_the_same_bytes(packed: Layout, bundles: dict[str, Bundle], tmp_path: Path) -> None:
    before = contents(packed.path)
    copies = [Path(shutil.copytree(bundles[name].path, tmp_path / "copies" / name)) for name in ("x86-64", "arm64")]
    for path in (copies[0] / "model.so", copies[1]):
        os.utime(path, (1, 1))
    (copies[0] / "model.so").chmod(0o600)
    repghost.pack(copies, oci=tmp_path / "again", name="registry.example/net:1")
    assert contents(tmp_path / "again") == before
    repghost.pack(copies, oci=packed.path)
    assert Layout(packed.path).index == packed.index, "a layout is replaced, and the name is not part of the index"


def test_a_target_with_a_static_runner_needs_no_linker(
    bundles: dict[str, Bundle], no_linker: list[Target], tmp_path: Path
) -> None:
    made = repghost.pack(bundles["android"], oci=tmp_path / "oci")
    root = Layout(made.path).unpack("arm64", tmp_path / "root")
    assert (root / "repghost-run").read_bytes() == b"a runner"
    assert no_linker == []
    assert made.to_dict()["platforms"] == {"linux/arm64": bundles["android"].digest}


def test_a_dynamic_runner_is_linked_again_without_libraries(packed: Layout, no_linker: list[Target]) -> None:
    assert [(it.name, it.runner_triple) for it in no_linker] == [
        ("arm64", "aarch64-linux-musl"), ("x86-64", "x86_64-linux-musl"),
    ]  # fmt: skip


def test_a_variant_of_an_architecture_is_said(
    bundles: dict[str, Bundle], no_linker: list[Target], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ARM64.container is not None
    monkeypatch.setitem(
        TARGETS, "arm64", replace(ARM64, container=replace(ARM64.container, architecture="arm", variant="v7"))
    )
    made = repghost.pack(bundles["arm64"], oci=tmp_path / "oci")
    assert [*made.platforms] == ["linux/arm/v7"]
    layout = Layout(made.path)
    assert layout.entries[0]["platform"] == {"architecture": "arm", "os": "linux", "variant": "v7"}
    assert {key: layout.config("arm")[key] for key in ("architecture", "variant")} == {
        "architecture": "arm",
        "variant": "v7",
    }


@pytest.mark.usefixtures("no_linker")
def test_a_signature_goes_along_and_can_be_demanded(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    pytest.importorskip("model_signing", reason="pip install '.[signing]'")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(pem, pkcs8, plain))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    bundle = Path(shutil.copytree(bundles["arm64"].path, tmp_path / "int8"))
    with pytest.raises(IntegrityError, match="is not signed"):
        repghost.pack(bundle, oci=tmp_path / "oci", public_key=public)
    signature = repghost.sign(bundle, key=private)
    layout = Layout(repghost.pack(bundle, oci=tmp_path / "oci", public_key=public).path)
    assert json.loads(layout.config("arm64")["config"]["Labels"]["repghost.signature"]) == json.loads(
        signature.read_bytes()
    )
    root = layout.unpack("arm64", tmp_path / "root")
    assert (root / "bundle.sig").read_bytes() == signature.read_bytes()
    shutil.copy(tmp_path / "root/bundle/manifest.json", tmp_path / "keep")
    signature.write_bytes(signature.read_bytes().replace(b'"', b"'", 1))
    with pytest.raises(IntegrityError, match="does not match"):
        repghost.pack(bundle, oci=tmp_path / "oci", public_key=public)
    assert Layout(tmp_path / "oci").index == layout.index, "what was there stays"


def another_program(manifest: dict[str, Any]) -> None:
    manifest["program_digest"] = manifest["accuracy"]["program_digest"] = "1" * 64


def unmeasured(manifest: dict[str, Any]) -> None:
    manifest["accuracy"] = {"measured": False, "reason": "no images"}


CHANGED: dict[str, tuple[Callable[[dict[str, Any]], None], type[Exception], str]] = {
    "another program": (another_program, UsageError, "has another program than"),
    "not measured": (unmeasured, AccuracyGateError, "its accuracy was not measured"),
    "another interface": (lambda it: it.update(abi=1), IntegrityError, "version 1 of the C interface"),
    "a changed file": (lambda it: it["files"]["model.so"].update(sha256="0" * 64), IntegrityError, "was changed"),
}  # fmt: skip


@pytest.mark.usefixtures("no_linker")
@pytest.mark.parametrize("name", CHANGED)
def test_what_cannot_be_packed_is_refused(bundles: dict[str, Bundle], tmp_path: Path, name: str) -> None:
    change, error, message = CHANGED[name]
    other = Path(shutil.copytree(bundles["x86-64"].path, tmp_path / "other"))
    edit(other, change)
    with pytest.raises(error, match=message):
        repghost.pack([bundles["arm64"], other], oci=tmp_path / "oci")
    assert not (tmp_path / "oci").exists()


@pytest.mark.usefixtures("no_linker")
def test_two_bundles_for_one_machine_are_refused(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is for linux/arm64, as another of these bundles is"):
        repghost.pack([bundles["arm64"], bundles["android"]], oci=tmp_path / "oci")
    with pytest.raises(UsageError, match="at least one"):
        repghost.pack([], oci=tmp_path / "oci")


def test_a_target_without_containers_is_named(
    bundles: dict[str, Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "arm64", replace(ARM64, container=None))
    with pytest.raises(UsageError, match="is for arm64; container images are made for: android, "):
        repghost.pack(bundles["arm64"], oci=tmp_path / "oci")


@pytest.mark.usefixtures("no_linker")
def test_a_folder_with_something_else_is_left_alone(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(UsageError, match="something else in it"):
        repghost.pack(bundles["arm64"], oci=tmp_path)
    (tmp_path / "empty").mkdir()
    repghost.pack(bundles["arm64"], oci=tmp_path / "empty")
    with pytest.raises(UsageError, match="not a folder"):
        repghost.pack(bundles["arm64"], oci=tmp_path / "precious")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("net", ("net", "latest")), ("registry.example:5000/a-b/c__d:v1.2", ("registry.example:5000/a-b/c__d", "v1.2")),
        ("localhost/net:X_y", ("localhost/net", "X_y")),
    ],
)  # fmt: skip
def test_names_of_images(name: str, parts: tuple[str, str]) -> None:
    assert parse_name(name) == parts


@pytest.mark.parametrize(
    "name", ["", "Net", "net:", "/net", "net/", "net:a b", "net@sha256:0", "a" * 256, "net\n", "a..b"]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(UsageError, match="is no name of an image"):
        parse_name(name)


@pytest.mark.usefixtures("no_linker")
def test_the_command(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    arguments = ["pack", str(bundles["arm64"].path), str(bundles["x86-64"].path), "--oci", str(tmp_path / "oci")]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    layout = Layout(tmp_path / "oci")
    assert layout.named["digest"] in done.output and "linux/amd64" in done.output and "skopeo copy" in done.output
    found = json.loads(CliRunner().invoke(cli, [*arguments, "--json"]).output)
    assert f"sha256:{found['digest']}" == layout.named["digest"]
    named = CliRunner().invoke(cli, [*arguments, "--name", "registry.example/net:2"])
    assert f"skopeo copy --all oci:{tmp_path / 'oci'} docker://registry.example/net:2" in named.output
    assert CliRunner().invoke(cli, [*arguments, "--name", "Net"]).exit_code == 2


def test_ocis_own_validator_agrees(packed: Layout) -> None:
    """Every part against the schemas of the specification; it knows no layout with an index in its index."""
    validator = find_validator()
    if validator is None:
        pytest.skip("no oci-image-tool; python -m tests.support.fetch fetches it")
    parts = [("imageIndex", packed.path / "index.json"), ("imageIndex", packed.place(packed.named))]
    for entry in packed.entries:
        manifest = packed.manifests[entry["platform"]["architecture"]]
        parts += [("manifest", packed.place(entry)), ("config", packed.place(manifest["config"]))]
    for kind, path in parts:
        done = subprocess.run(
            [validator, "validate", "--type", kind, path], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, (kind, done.stdout, done.stderr)
    broken = packed.path / "broken"
    broken.write_text(packed.place(packed.entries[0]).read_text().replace("sha256:", "sha256;"))
    done = subprocess.run(
        [validator, "validate", "--type", "manifest", broken], capture_output=True, timeout=60, check=False
    )
    assert done.returncode != 0


def test_android_and_arm64_share_a_static_runner() -> None:
    from compile.link.stored_runner import runner_key

    assert ARM64.container is not None
    assert runner_key(replace(ARM64, runner_triple=ARM64.container.runner_triple)) == runner_key(ANDROID)
    assert runner_key(ARM64) != runner_key(ANDROID)
