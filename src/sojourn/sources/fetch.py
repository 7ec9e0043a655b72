"""Download the open data sets from their public home: resumable, and only what has the right checksum is kept."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from threading import Event
from typing import TypeVar
from urllib.parse import quote

import httpx

from sojourn.errors import ConfigError, FetchError
from sojourn.files import atomic_file, sha256
from sojourn.progress import Bar, progress_bar

_T = TypeVar("_T")
_LIST = "SHA256SUMS.txt"
_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(.+)")
_TRIES = 5
_BACKOFF_S = 1.0
_TIMEOUT_S = 60.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class OpenDataSet:
    """A data set that anyone may download."""

    base_url: str
    """Folder that holds ``SHA256SUMS.txt`` and the files that it lists."""
    licence: str
    """Licence of the data."""


DATASETS = {
    "challenge-2012": OpenDataSet("https://physionet.org/files/challenge-2012/1.0.0/", "ODC-By 1.0"),
    "challenge-2019": OpenDataSet("https://physionet.org/files/challenge-2019/1.0.0/", "CC BY 4.0"),
    "eicu-demo": OpenDataSet("https://physionet.org/files/eicu-crd-demo/2.0.1/", "ODbL 1.0"),
    "mimic-iv-demo": OpenDataSet("https://physionet.org/files/mimic-iv-demo/2.2/", "ODbL 1.0"),
    "mimic-iv-demo-meds": OpenDataSet("https://physionet.org/files/mimic-iv-demo-meds/0.0.1/", "ODbL 1.0"),
}
"""Name -> where it is, for `fetch`."""


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a download brought."""

    name: str
    """Name of the data set."""
    out: Path
    """Folder that holds it, whole."""
    num_files: int
    """Files of the data set."""
    num_downloaded: int
    """Files that were downloaded now; the others were there, with the right checksum."""

    @property
    def already_there(self) -> bool:
        """Whether nothing was left to download."""
        return self.num_downloaded == 0


class _TransientError(Exception):
    """Something that another try may mend."""


def fetch(name: str, out: Path, *, base_url: str | None = None, workers: int = 4) -> FetchReport:
    """Download an open data set.

    A file appears under its name only when it is whole and has the checksum that the data set lists; until then it is
    a hidden ``.part`` beside it. Calling again goes on where an interrupted call stopped and leaves right files alone.

    Parameters
    ----------
    name : one of `DATASETS`.
    out : folder for the files.
    base_url : another place with the same files (a mirror); ``https`` unless it is on this machine.
    workers : files that are downloaded at the same time.

    Returns
    -------
    FetchReport
        How many files there are, and how many had to be downloaded.

    Raises
    ------
    ConfigError
        If there is no such data set, or `workers` is not positive.
    FetchError
        If a file is not there, the connection keeps breaking, a checksum is wrong or the list of files is not sound.
    """
    if name not in DATASETS:
        msg = f"name must be one of {', '.join(DATASETS)}; got {name!r}. Choose one of them."
        raise ConfigError(msg)
    if workers < 1:
        msg = f"workers must be at least 1; got {workers}. Give the number of simultaneous downloads."
        raise ConfigError(msg)
    base = (base_url or DATASETS[name].base_url).rstrip("/") + "/"
    with httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True, event_hooks={"request": [_refuse_plain]}) as client:
        job = _Job(client, base, out, Event())
        text = job.read_list()
        listed = parse_checksums(text, base + _LIST)
        with progress_bar(f"fetch {name}", len(listed)) as bar, ThreadPoolExecutor(workers) as pool:
            running = [pool.submit(job.fetch_file, path, digest, bar) for path, digest in listed.items()]
            try:
                num_downloaded = sum(one.result() for one in as_completed(running))
            finally:
                job.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
    with atomic_file(out / _LIST) as part:
        part.write_text(text)
    return FetchReport(name, out, len(listed), num_downloaded)


def parse_checksums(text: str, place: str) -> dict[str, str]:
    """Read a list of lines ``<sha256> <path>``.

    Parameters
    ----------
    text : content of the list.
    place : where it is from, for messages.

    Returns
    -------
    dict
        Relative path -> checksum in lower case.

    Raises
    ------
    FetchError
        If a line is no such line, or a path leads out of the folder.

    Examples
    --------
    >>> list(parse_checksums(f"{'0' * 64} hosp/admissions.csv.gz", "here"))
    ['hosp/admissions.csv.gz']
    """
    listed: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        path = PurePosixPath(found.group(2)) if found else None
        if found is None or path is None or not _is_inside(found.group(2)):
            msg = f"{place} must list checksums and paths inside the folder; line {number} does not. Report it."
            raise FetchError(msg)
        listed[path.as_posix()] = found.group(1).lower()
    if not listed:
        msg = f"{place} must list files; it lists none. Check the address."
        raise FetchError(msg)
    return listed


def _is_inside(path: str) -> bool:
    """Whether a listed path stays inside the folder and hides nothing."""
    parts = path.split("/")
    return not any(part in ("", ".", "..") or part.startswith(".") for part in parts) and not set(path) & set("\\:\0")


def _refuse_plain(request: httpx.Request) -> None:
    """Refuse ``http``, also after a redirection, unless the server is on this machine."""
    host = request.url.host
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if request.url.scheme != "https" and not is_local:
        msg = f"address must be https; got {request.url.scheme}://{host}. Use the https address."
        raise FetchError(msg)


class _Job:
    """One data set on its way from one server to one folder."""

    def __init__(self, client: httpx.Client, base: str, out: Path, stop: Event) -> None:
        self.client, self.base, self.out, self.stop = client, base, out, stop

    def read_list(self) -> str:
        """Content of the list of checksums."""
        url = self.base + _LIST

        def get() -> str:
            response = self.client.get(url)
            _check_status(response, url)
            return response.text

        return self._patiently(get, url, lambda: 0)

    def fetch_file(self, path: str, digest: str, bar: Bar) -> bool:
        """Make sure that one file is there and right; whether it had to be downloaded."""
        target = self.out / path
        is_missing = not self.stop.is_set() and not (target.is_file() and sha256(target) == digest)
        if is_missing:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._download(path, digest, target, bar)
        bar.advance()
        return is_missing

    def _download(self, path: str, digest: str, target: Path, bar: Bar) -> None:
        """Download into the part file, check it, and give it its name."""
        url, part = self.base + quote(path), target.with_name(f".{target.name}.part")
        is_resumed = part.exists()
        self._patiently(lambda: self._append(url, part, path, bar), url, lambda: _size(part))
        if sha256(part) != digest and is_resumed:  # the beginning may be of another version
            part.unlink()
            self._patiently(lambda: self._append(url, part, path, bar), url, lambda: _size(part))
        if sha256(part) != digest:
            part.unlink()
            msg = f"{url} must have the listed checksum; it has another and is not kept. Try later or report it."
            raise FetchError(msg)
        os.replace(part, target)

    def _append(self, url: str, part: Path, path: str, bar: Bar) -> None:
        """Download what the part file does not hold yet."""
        start = _size(part)
        headers = {"Range": f"bytes={start}-"} if start else {}
        # Encoded bodies would make offsets and checksums those of another file.
        with self.client.stream("GET", url, headers={**headers, "Accept-Encoding": "identity"}) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # nothing is missing, or the checksum will tell
            _check_status(response, url)
            continues = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
            is_partial = response.status_code == httpx.codes.PARTIAL_CONTENT
            if is_partial and not continues:
                part.unlink(missing_ok=True)
                raise _TransientError("another part than the missing one was sent")
            with part.open("ab" if is_partial else "wb") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
                    bar.note(f"{path} {file.tell() / 1e6:.1f} MB")
                    if self.stop.is_set():
                        raise FetchError(f"{url} was interrupted. Run the same command again to go on.")

    def _patiently(self, action: Callable[[], _T], url: str, progress: Callable[[], int]) -> _T:
        """Try again, later and later, while nothing comes; a try that brings bytes starts the count anew."""
        tries, had = 0, progress()
        while True:
            try:
                return action()
            except (httpx.TransportError, _TransientError) as error:
                tries = 1 if progress() > had else tries + 1
                had = progress()
                if tries >= _TRIES:
                    why = str(error) or type(error).__name__
                    msg = f"{url} must be reachable; {tries} tries failed ({why}). Run the same command again to go on."
                    raise FetchError(msg) from error
                if self.stop.wait(_BACKOFF_S * 2 ** (tries - 1)):
                    raise FetchError(f"{url} was interrupted. Run the same command again to go on.") from error


def _check_status(response: httpx.Response, url: str) -> None:
    """Raise what an answer other than success means."""
    code = response.status_code
    if code in _TRANSIENT:
        raise _TransientError(f"status {code}")
    if code in (401, 403):
        msg = f"{url} must be open; the server refuses it (status {code}). Log in there, or check the address."
        raise FetchError(msg)
    if not response.is_success:
        msg = f"{url} must exist; the server answers with status {code}. Check the address or the version."
        raise FetchError(msg)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
