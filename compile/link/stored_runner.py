"""repghost-run is the same for every network: it is built once for a target and kept beside the user's kernels."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from compile.link import by_form, toolchain
from compile.storage.code_key import code_digest, files_digest
from compile.storage.kernel_store import KernelStore, user_store
from compile.storage.stage_cache import key_digest, versions
from compile.targets.table import Target


def stored_runner(target: Target, store: KernelStore | None = None) -> bytes:
    """Return repghost-run for a target, built only where no earlier run built it from the same sources.

    Args:
        target: a row of `compile.targets.table`.
        store: where it is kept; the user's store where it is not given.
    """
    if target.form.started_by:
        return by_form.make_runner(target)
    store = user_store() if store is None else store
    key = runner_key(target)
    found = store.get(key)
    if found is None:
        with store.making(key):
            found = store.get(key) or _made(target, key, store)
    by_form.check_runner(found, target)
    return found


def _made(target: Target, key: str, store: KernelStore) -> bytes:
    runner = by_form.make_runner(target)
    store.put(key, runner)
    return runner


def start_runners(targets: Iterable[Target]) -> dict[str, Future[bytes]]:
    """Begin to build the runner of each target and return at once; other stages run meanwhile.

    Args:
        targets: rows of `compile.targets.table`.

    Returns:
        by the target's name what `stored_runner` will give.
    """
    pool = ThreadPoolExecutor(1)  # the compiler is a process of its own, so the others go on
    runners = {target.name: pool.submit(stored_runner, target) for target in targets}
    pool.shutdown(wait=False)
    return runners


def runner_key(target: Target) -> str:
    """Return a name made of everything the runner depends on: its sources, how they are compiled, and the compiler."""
    return key_digest(
        {
            "target": target.zig_target(target.runner_triple),
            "static": bool(target.runner_triple),
            "tools": versions("ziglang"),
            "code": code_digest("compile.link.by_form"),
            "sources": files_digest(toolchain.runner_sources()),
        }
    )
