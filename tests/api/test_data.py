from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kowalski_jupyter import RlmError
from kowalski_jupyter.api.data import pack_all


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk: Path) -> None:
    with pytest.raises(RlmError, match="No space left") as caught:
        pack_all({"notes": "x" * 2_000_000}, small_disk)

    assert "\n" not in str(caught.value)
    assert not list(small_disk.iterdir())


def test_a_value_that_cannot_be_passed_says_what_can_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RlmError, match="These can: text") as caught:
        pack_all({"good": "text", "bad": (i for i in ())}, tmp_path / "runs")

    assert "bad" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "runs").iterdir())


def test_no_values_pack_nothing(tmp_path: Path) -> None:
    assert pack_all({}, tmp_path) == ()
    assert not list(tmp_path.iterdir())
