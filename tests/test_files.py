"""What may be written, asked before the work is done."""

from pathlib import Path

import pytest

from sojourn.errors import ConfigError
from sojourn.files import check_place, check_target


def test_a_file_that_cannot_be_made_or_is_read_is_refused(tmp_path: Path) -> None:
    read = tmp_path / "read.txt"
    read.write_text("read")
    (tmp_path / "linked.txt").symlink_to(read)
    for path, told in (
        (tmp_path, "is a folder"),
        (read / "deep" / "a.txt", r"read\.txt, in which .* would lie, is none"),
        (read, "one of them"),
        (tmp_path / "linked.txt", "one of them"),
    ):
        with pytest.raises(ConfigError, match=told):
            check_target(path, inputs=[tmp_path / "absent.txt", read])
    check_target(tmp_path / "new" / "a.txt", inputs=[read])
    check_target(read)  # an earlier result is replaced
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linked.txt", "read.txt"]


def test_a_folder_to_write_cannot_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_place(tmp_path / "new" / "newer")
    with pytest.raises(ConfigError, match="must lie in a folder"):
        check_place(tmp_path / "file" / "new")
