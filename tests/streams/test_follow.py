"""``publish --follow``: what is there, appears, changes and goes; a touch is no change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

from streams.client import Client, document_id_of
from streams.follow import Follower, visible_files
from streams.progress import Published


class Recorded:
    """A client that only remembers."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, bytes]] = []

    async def publish(self, path: Path, *, source: str, tenant: str) -> Published:
        self.told.append(("publish", path.name, path.read_bytes()))
        return Published(tenant=tenant, document_id=document_id_of(path), version=1)

    async def delete(self, document_id: str, *, tenant: str) -> Published:
        self.told.append(("delete", document_id, b""))
        return Published(tenant=tenant, document_id=document_id, version=2)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.05)


async def test_a_folder_is_followed(tmp_path: Path) -> None:
    client, stop = Recorded(), asyncio.Event()
    (tmp_path / "there.txt").write_text("there")
    (tmp_path / ".hidden").write_text("hidden")
    follower = Follower(cast(Client, client), tmp_path, source="s", tenant="t", on_change=lambda what, published: None)
    running = asyncio.create_task(follower.run(stop))
    await until(lambda: client.told == [("publish", "there.txt", b"there")])
    later = tmp_path / "sub" / "later.txt"
    later.parent.mkdir()
    later.write_text("first")
    await until(lambda: ("publish", "later.txt", b"first") in client.told)
    later.write_text("second")
    await until(lambda: ("publish", "later.txt", b"second") in client.told)
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere" / "moved"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "whole.txt").write_text("whole")
    elsewhere.rename(tmp_path / "moved")
    await until(lambda: ("publish", "whole.txt", b"whole") in client.told)
    (tmp_path / "there.txt").touch()
    (tmp_path / "there.txt").unlink()
    await until(lambda: ("delete", document_id_of(tmp_path / "there.txt"), b"") in client.told)
    stop.set()
    await running
    names = [name for what, name, _ in client.told if what == "publish"]
    assert names.count("there.txt") == 1, "a touch is no new version"
    assert ".hidden" not in names


def test_hidden_files_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", ".x", ".git/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [file.name for file in visible_files([tmp_path])] == ["a.txt", "b.txt"]
    assert [file.name for file in visible_files([tmp_path / ".x"])] == [".x"]
