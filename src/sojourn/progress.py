"""Progress bars on standard error: quiet when nobody looks."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True)


class Bar:
    """One line of progress: `advance` moves it, `note` changes the text at its end."""

    def __init__(self, progress: Progress, task: int) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: float = 1) -> None:
        self._progress.advance(self._task, steps)  # type: ignore[arg-type]

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)  # type: ignore[arg-type]


@contextmanager
def progress_bar(title: str, total: float | None, *, is_shown: bool = True) -> Iterator[Bar]:
    """Show a bar with title, share done, time gone and time left while the block runs.

    On a terminal it is drawn live; elsewhere (a log, CI) only the finished line is printed.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4, disable=not is_shown) as progress:
        yield Bar(progress, progress.add_task(title, total=total, note=""))
