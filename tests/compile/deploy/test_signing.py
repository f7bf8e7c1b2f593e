"""Signatures: made by the package that others use too, demanded by deploy and verify, broken by any change."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from compile.bundle import signing
from compile.bundle.manifest import MANIFEST, Bundle, check_bundle
from compile.storage.files import sha256
from compile.storage.strict_json import canonical_json, parse_strict
from repghost.cli import cli
from repghost.errors import IntegrityError, RepGhostError, ToolMissingError, UsageError, install_command

pytest.importorskip("model_signing", reason="pip install '.[signing]'")
# Random changes go on that long, as in `make fuzz`; each kind comes four times in any case.
FUZZ_SECONDS = float(os.environ.get("REPGHOST_FUZZ_SECONDS", "0"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two pairs of keys, as [folder/key0, folder/key1] with .pem and .pub."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    for number in range(2):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        (folder / f"key{number}.pem").write_bytes(private)
        (folder / f"key{number}.pub").write_bytes(public)
    return [folder / "key0", folder / "key1"]


@pytest.fixture
def signed(versions: list[Bundle], keys: list[Path], tmp_path: Path) -> Path:
    """A signed copy of a bundle; the signature lies beside it."""
    path = Path(shutil.copytree(versions[0].path, tmp_path / "bundle"))
    assert signing.sign_bundle(path, keys[0].with_suffix(".pem")) == tmp_path / "bundle.sig"
    return path


def matches(path: Path, key: Path, signature: Path | None = None) -> None:
    signing.verify_signature(check_bundle(path), key.with_suffix(".pub"), signature)


def test_a_signature_matches_its_bundle_and_key(signed: Path, keys: list[Path], versions: list[Bundle]) -> None:
    matches(signed, keys[0])
    with pytest.raises(IntegrityError, match="does not match"):
        matches(signed, keys[1])
    with pytest.raises(IntegrityError, match="does not match"):
        matches(versions[1].path, keys[0], signed.with_name("bundle.sig"))
    with pytest.raises(IntegrityError, match=r"is not signed.*repghost sign"):
        matches(versions[1].path, keys[0])


def test_the_package_itself_accepts_the_signature(signed: Path, keys: list[Path]) -> None:
    from model_signing import verifying

    config = verifying.Config().use_elliptic_key_verifier(public_key=keys[0].with_suffix(".pub"))
    config.verify(signed, signed.with_name("bundle.sig"))


def edit_manifest(path: Path) -> None:
    manifest = parse_strict((path / MANIFEST).read_bytes(), MANIFEST)
    manifest["tools"]["version"] = "another"
    (path / MANIFEST).write_bytes(canonical_json(manifest))


def reseal_model(path: Path) -> None:
    model = bytearray((path / "model.so").read_bytes())
    model[-1] ^= 1
    (path / "model.so").write_bytes(bytes(model))
    manifest = parse_strict((path / MANIFEST).read_bytes(), MANIFEST)
    manifest["files"]["model.so"]["sha256"] = sha256(bytes(model))
    (path / MANIFEST).write_bytes(canonical_json(manifest))


@pytest.mark.parametrize("change", [edit_manifest, reseal_model])
def test_a_bundle_that_is_whole_but_another_is_refused(
    signed: Path, keys: list[Path], change: Callable[[Path], None]
) -> None:
    change(signed)
    check_bundle(signed)  # without a key nothing is wrong with it
    with pytest.raises(IntegrityError, match="does not match"):
        matches(signed, keys[0])
    for words in (("verify", signed), ("deploy", signed, "board.invalid")):
        key = ["--public-key", str(keys[0].with_suffix(".pub"))]
        done = CliRunner().invoke(cli, [*map(str, words), *key])
        assert done.exit_code == 6 and "does not match" in done.output
    environment = {"REPGHOST_PUBLIC_KEY": str(keys[0].with_suffix(".pub"))}
    assert CliRunner().invoke(cli, ["verify", str(signed)], env=environment).exit_code == 6


def test_the_command_signs_and_verify_accepts(signed: Path, keys: list[Path], tmp_path: Path) -> None:
    place = tmp_path / "elsewhere.sig"
    key = str(keys[0].with_suffix(".pem"))
    done = CliRunner().invoke(cli, ["sign", str(signed), "--key", key, "--signature", str(place)])
    assert done.exit_code == 0, done.output
    options = ["--public-key", str(keys[0].with_suffix(".pub")), "--signature", str(place)]
    assert CliRunner().invoke(cli, ["verify", str(signed), *options]).exit_code == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_wrong_keys_and_places_are_named(signed: Path, keys: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no key")
    with pytest.raises(UsageError, match=r"is no file.*openssl ecparam"):
        signing.sign_bundle(signed, tmp_path / "absent")
    with pytest.raises(UsageError, match="cannot sign"):
        signing.sign_bundle(signed, tmp_path / "text")
    with pytest.raises(UsageError, match="lies in the bundle"):
        signing.sign_bundle(signed, keys[0].with_suffix(".pem"), signed / "x.sig")
    with pytest.raises(UsageError, match="no public key"):
        signing.verify_signature(check_bundle(signed), tmp_path / "text")
    with pytest.raises(UsageError, match="is no file"):
        signing.verify_signature(check_bundle(signed), tmp_path / "absent")


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"dsseEnvelope": {}}', b"[" * 100000])
def test_a_foreign_signature_is_refused(signed: Path, keys: list[Path], content: bytes) -> None:
    signed.with_name("bundle.sig").write_bytes(content)
    with pytest.raises(IntegrityError, match="does not match"):
        matches(signed, keys[0])


def test_a_signature_of_any_size_is_not_read(signed: Path, keys: list[Path]) -> None:
    with signed.with_name("bundle.sig").open("wb") as file:
        file.truncate(signing.MOST_BYTES + 1)
    with pytest.raises(IntegrityError, match="at most"):
        matches(signed, keys[0])


def test_without_the_package_the_extra_is_named(
    signed: Path, keys: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'")

    monkeypatch.setattr(signing.importlib, "import_module", absent)
    with pytest.raises(ToolMissingError, match=re.escape(install_command("signing"))):
        matches(signed, keys[0])


def test_a_key_made_by_the_line_of_the_message_works(versions: list[Bundle], tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    subprocess.run(["sh", "-c", signing.MAKE_KEY], cwd=tmp_path, check=True, capture_output=True)
    place = signing.sign_bundle(versions[0].path, tmp_path / "key.pem", tmp_path / "s.sig")
    matches(versions[0].path, tmp_path / "key", place)


class Mutations:
    """Random changes of a bundle; each returns whether it changed anything."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def any_file(self, path: Path) -> Path:
        return self.random.choice(sorted(path.iterdir()))

    def flip(self, path: Path) -> None:
        file = self.any_file(path)
        data = bytearray(file.read_bytes())
        data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        file.write_bytes(bytes(data))

    def truncate(self, path: Path) -> None:
        file = self.any_file(path)
        file.write_bytes(file.read_bytes()[: self.random.randrange(file.stat().st_size)])

    def extend(self, path: Path) -> None:
        with self.any_file(path).open("ab") as file:
            file.write(self.random.randbytes(self.random.randint(1, 40)))

    def swap(self, path: Path) -> None:
        first, second = self.random.sample(sorted(path.iterdir()), 2)
        first.rename(path / "swap")
        second.rename(first)
        (path / "swap").rename(second)

    def remove(self, path: Path) -> None:
        self.any_file(path).unlink()

    def add(self, path: Path) -> None:
        name = self.random.choice(["extra", ".hidden", "model.so.1", "ü", ".git", ".gitignore", "x.sig"])
        (path / name).write_bytes(self.random.randbytes(3))

    def rename(self, path: Path) -> None:
        file = self.any_file(path)
        file.rename(file.with_name(f"{file.name}{self.random.choice('x.~')}"))

    def link(self, path: Path) -> None:
        file = self.any_file(path)
        place = path.parent / "linked"
        shutil.move(file, place)
        file.symlink_to(place)

    def pipe(self, path: Path) -> None:
        file = self.any_file(path)
        file.unlink()
        os.mkfifo(file)

    def folder(self, path: Path) -> None:
        (path / self.random.choice(["a", ".b"])).mkdir()

    def reseal(self, path: Path) -> None:
        """Change a file and its digest: only the signature can tell."""
        reseal_model(path)

    def rewrite(self, path: Path) -> None:
        """Change a value of the manifest: only the signature can tell, where the value is not checked."""
        manifest = parse_strict((path / MANIFEST).read_bytes(), MANIFEST)
        key = self.random.choice(sorted(manifest))
        manifest[key] = self.random.choice([{}, [], 1, "x", {"a": 1}, {"name": "x"}])
        (path / MANIFEST).write_bytes(canonical_json(manifest))

    def cut_text(self, path: Path) -> None:
        data = bytearray((path / MANIFEST).read_bytes())
        at = self.random.randrange(len(data))
        del data[at : at + self.random.randint(1, 30)]
        (path / MANIFEST).write_bytes(bytes(data))


@pytest.mark.slow
def test_signed_then_mutated_is_refused(versions: list[Bundle], keys: list[Path], tmp_path: Path) -> None:
    """A fuzzer: sign, change anything, verify must fail, with one of our own errors and never another exception."""
    original, signature = versions[0].path, tmp_path / "bundle.sig"
    signing.sign_bundle(original, keys[0].with_suffix(".pem"), signature)
    before = {path.name: path.read_bytes() for path in original.iterdir()}
    end, rounds, kinds = time.monotonic() + FUZZ_SECONDS, 0, set()
    names = [name for name in vars(Mutations) if not name.startswith("_") and name != "any_file"]
    while time.monotonic() < end or rounds < 4 * len(names):
        mutations, name = Mutations(rounds), names[rounds % len(names)]
        path = Path(shutil.copytree(original, tmp_path / f"copy{rounds}" / "bundle"))
        getattr(mutations, name)(path)
        rounds += 1
        same = {p.name: p.read_bytes() for p in path.iterdir() if p.is_file() and not p.is_symlink()} == before
        if not same or any(not p.is_file() for p in path.iterdir()):
            with pytest.raises(RepGhostError) as caught:
                matches(path, keys[0], signature)
            assert caught.value.exit_code == 6 or "manifest.json" in str(caught.value), (name, rounds)
            kinds.add(name)
        shutil.rmtree(path.parent)
    assert kinds == set(names)
