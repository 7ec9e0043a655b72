"""Downloads from a server that is sometimes slow of wit: it ignores ranges, cuts connections, sends wrong bytes."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from sojourn.cli.data import fetch as command
from sojourn.errors import ConfigError, FetchError
from sojourn.sources import fetch as module
from sojourn.sources.fetch import DATASETS, OpenDataSet, fetch, parse_checksums

BIG = bytes(range(256)) * 4096
FILES = {"LICENSE.txt": b"open", "hosp/admissions.csv.gz": BIG, "icu/with space.csv": b"", "empty": b""}


class Archive(ThreadingHTTPServer):
    """A server on this machine; tests change how it behaves."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.listed = {path: hashlib.sha256(content).hexdigest() for path, content in FILES.items()}
        self.cuts: Counter[str] = Counter()
        self.cut_at = 100_000
        self.statuses: dict[str, list[int]] = {}
        self.has_ranges = True
        self.redirect = ""
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/demo/1.0"


class Handler(BaseHTTPRequestHandler):
    """Answers for `Archive`."""

    server: Archive

    def do_GET(self) -> None:
        path = self.path.removeprefix("/demo/1.0/").replace("%20", " ")
        asked = self.headers.get("Range")
        self.server.requests.append((path, asked))
        content = self.server.files.get(path)
        if path == "SHA256SUMS.txt" and content is None:
            content = "".join(f"{digest} {name}\n" for name, digest in self.server.listed.items()).encode()
        status = self.server.statuses[path].pop(0) if self.server.statuses.get(path) else None
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.end_headers()
        elif status is not None or content is None:
            self.send_error(status or 404)
        else:
            self._send(path, content, asked if self.server.has_ranges else None)

    def _send(self, path: str, content: bytes, asked: str | None) -> None:
        start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1)) if asked else 0  # type: ignore[union-attr]
        if asked and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.server.cuts[path] > 0:
            self.server.cuts[path] -= 1
            self.wfile.write(content[start : start + self.server.cut_at])
            return  # the connection closes before the promised length
        self.wfile.write(content[start:])

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    monkeypatch.setattr(module, "_BACKOFF_S", 0.001)
    server = Archive()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def get(archive: Archive, out: Path) -> dict[str, bytes]:
    """Fetch one file after the other and say what lies there, but for the list."""
    assert fetch("mimic-iv-demo", out, base_url=archive.url, workers=1).out == out
    found = contents(out)
    assert found.pop("SHA256SUMS.txt")
    return found


def test_all_files_arrive(archive: Archive, tmp_path: Path) -> None:
    assert get(archive, tmp_path / "out") == FILES


def test_many_at_once_are_the_same(archive: Archive, tmp_path: Path) -> None:
    archive.listed = {f"set-a/{i}.txt": hashlib.sha256(b"%d" % i).hexdigest() for i in range(50)}
    archive.files = {f"set-a/{i}.txt": b"%d" % i for i in range(50)}
    fetch("challenge-2012", tmp_path / "out", base_url=archive.url, workers=4)
    assert len(contents(tmp_path / "out")) == 51


def test_a_second_call_says_that_all_was_there(archive: Archive, tmp_path: Path) -> None:
    reports = [fetch("mimic-iv-demo", tmp_path / "out", base_url=archive.url) for _ in range(2)]
    (tmp_path / "out" / "empty").write_bytes(b"tampered")
    reports.append(fetch("mimic-iv-demo", tmp_path / "out", base_url=archive.url))
    assert [report.num_downloaded for report in reports] == [len(FILES), 0, 1]
    assert [report.already_there for report in reports] == [False, True, False]


def test_the_command_says_that_all_was_there(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DATASETS, "mimic-iv-demo", OpenDataSet(archive.url, "open"))
    said = []
    for _ in range(2):
        command("mimic-iv-demo", tmp_path / "out")
        said.append(capsys.readouterr().err)
    assert "fetched to" in said[0]
    assert "was there already" in said[1]
    assert "fetched to" not in said[1]


def test_a_second_call_downloads_only_the_list(archive: Archive, tmp_path: Path) -> None:
    get(archive, tmp_path / "out")
    (tmp_path / "out" / "LICENSE.txt").write_bytes(b"tampered")
    archive.requests.clear()
    assert get(archive, tmp_path / "out") == FILES
    assert [path for path, _ in archive.requests] == ["SHA256SUMS.txt", "LICENSE.txt"]


def test_a_cut_connection_is_resumed_where_it_broke(archive: Archive, tmp_path: Path) -> None:
    archive.cuts["hosp/admissions.csv.gz"] = 7  # more than the tries: each brings something
    assert get(archive, tmp_path / "out") == FILES
    ranges = [asked for path, asked in archive.requests if path == "hosp/admissions.csv.gz"]
    assert ranges[0] is None
    assert len(ranges) == 8
    assert all(asked is not None and asked != "bytes=0-" for asked in ranges[1:])


def test_a_connection_that_keeps_breaking_is_given_up_and_goes_on_later(archive: Archive, tmp_path: Path) -> None:
    archive.cuts["hosp/admissions.csv.gz"] = 100
    archive.cut_at = 0
    with pytest.raises(FetchError, match=r"admissions\.csv\.gz must be reachable; 5 tries failed.*again to go on"):
        get(archive, tmp_path / "out")
    assert not (tmp_path / "out" / "hosp" / "admissions.csv.gz").exists()
    (tmp_path / "out" / "hosp" / ".admissions.csv.gz.part").write_bytes(BIG[:500_000])
    archive.cuts.clear()
    archive.requests.clear()
    assert get(archive, tmp_path / "out") == FILES
    assert ("hosp/admissions.csv.gz", "bytes=500000-") in archive.requests


def test_a_server_that_ignores_ranges_starts_anew(archive: Archive, tmp_path: Path) -> None:
    archive.has_ranges = False
    archive.cuts["hosp/admissions.csv.gz"] = 1
    assert get(archive, tmp_path / "out") == FILES


@pytest.mark.parametrize("rest", [b"of another version" * 10_000, BIG + b"too long"])
def test_a_rest_of_another_version_is_thrown_away(archive: Archive, tmp_path: Path, rest: bytes) -> None:
    part = tmp_path / "out" / "hosp" / ".admissions.csv.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(rest)
    assert get(archive, tmp_path / "out") == FILES


def test_a_part_that_is_whole_needs_no_more_bytes(archive: Archive, tmp_path: Path) -> None:
    part = tmp_path / "out" / "hosp" / ".admissions.csv.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BIG)
    assert get(archive, tmp_path / "out") == FILES


def test_wrong_bytes_are_refused(archive: Archive, tmp_path: Path) -> None:
    archive.files["LICENSE.txt"] = b"other bytes"
    with pytest.raises(FetchError, match=r"LICENSE\.txt must have the listed checksum"):
        get(archive, tmp_path / "out")
    assert "LICENSE.txt" not in contents(tmp_path / "out")
    assert ".LICENSE.txt.part" not in contents(tmp_path / "out")
    assert "SHA256SUMS.txt" not in contents(tmp_path / "out")


def test_a_missing_file_is_said_at_once(archive: Archive, tmp_path: Path) -> None:
    del archive.files["LICENSE.txt"]
    with pytest.raises(FetchError, match=r"LICENSE\.txt must exist; the server answers with status 404"):
        get(archive, tmp_path / "out")
    assert sum(path == "LICENSE.txt" for path, _ in archive.requests) == 1


def test_a_closed_file_is_said_at_once(archive: Archive, tmp_path: Path) -> None:
    archive.statuses["SHA256SUMS.txt"] = [403]
    with pytest.raises(FetchError, match="must be open; the server refuses it"):
        get(archive, tmp_path / "out")


def test_a_busy_server_is_asked_again(archive: Archive, tmp_path: Path) -> None:
    archive.statuses = {"SHA256SUMS.txt": [503], "LICENSE.txt": [500, 429]}
    assert get(archive, tmp_path / "out") == FILES


def test_nobody_there(tmp_path: Path, archive: Archive) -> None:
    with pytest.raises(FetchError, match="must be reachable; 5 tries failed"):
        fetch("eicu-demo", tmp_path / "out", base_url="http://127.0.0.1:9/")


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b", "a//b", "C:\\x", ".ssh/config", "."])
def test_paths_that_lead_out_of_the_folder_are_refused(archive: Archive, tmp_path: Path, path: str) -> None:
    archive.listed[path] = "0" * 64
    with pytest.raises(FetchError, match="must list checksums and paths inside the folder; line 5"):
        get(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "\n", "no list at all", "abc LICENSE.txt", "<html></html>"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(FetchError):
        parse_checksums(text, "here")


def test_lists_of_several_tools_are_read() -> None:
    digest = "Ab" * 32
    listed = parse_checksums(f"{digest} a.txt\n{digest}  b/c d.txt\r\n{digest} *e\n", "here")
    assert listed == dict.fromkeys(["a.txt", "b/c d.txt", "e"], digest.lower())


def test_plain_http_is_refused_beyond_this_machine(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"address must be https; got http://example\.org"):
        fetch("mimic-iv-demo", tmp_path / "out", base_url="http://example.org/demo")
    archive.redirect = "http://example.org/elsewhere"
    with pytest.raises(FetchError, match="address must be https"):
        get(archive, tmp_path / "out")


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name must be one of challenge-2012"):
        fetch("mimic-v", tmp_path)
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        fetch("eicu-demo", tmp_path, workers=0)


def test_known_data_sets_are_https_folders() -> None:
    assert {"mimic-iv-demo", "eicu-demo", "challenge-2012", "challenge-2019", "mimic-iv-demo-meds"} == set(DATASETS)
    for data_set in DATASETS.values():
        assert httpx.URL(data_set.base_url).scheme == "https"
        assert data_set.base_url.endswith("/")
