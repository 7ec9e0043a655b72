import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from helpers.synthetic_artifacts import UNSEEN, write_synthetic_run
from sojourn.errors import RunError
from sojourn.report.html import report
from sojourn.report.methods import look
from sojourn.report.sections import SECTIONS

ANCHORS = ["headline", "data", "model", "learning", "risks", "fits", "patient", "controls", "reproduce"]
HOSTILE = '<script>alert("x")</script>&\'"<img src=x onerror=alert(1)>\x00'


class Page(HTMLParser):
    """Collects tags with attributes, checks that they nest, and keeps the text outside of style."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"tags left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def make(run: Path, folder: Path) -> str:
    return report(run, folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(synthetic_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(make(synthetic_run, tmp_path_factory.mktemp("page")))


def test_all_sections_are_there_and_in_the_table_of_contents(page: Page) -> None:
    assert [section["id"] for section in page.all("section")] == ANCHORS
    links = [link["href"] for link in page.all("a")]
    assert all(f"#{anchor}" in links for anchor in ANCHORS)
    assert len(SECTIONS) == len(ANCHORS)


def test_page_loads_nothing_from_elsewhere(synthetic_run: Path, tmp_path: Path) -> None:
    text = make(synthetic_run, tmp_path)
    page = Page(text)
    assert "http://" not in text
    assert "https://" not in text
    assert not {"script", "link", "img", "iframe", "object", "embed", "image", "use"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import|src=|srcset=", text)
    assert all(str(link["href"]).startswith("#") for link in page.all("a"))
    policies = [meta.get("content") for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert len(text.encode()) < 3_000_000


def test_headline_tells_figures_and_misses(page: Page) -> None:
    # five outcomes, one of which expects 1.5 times the events that were observed
    assert f"of hospital {UNSEEN}, which the model never saw in training" in page.text
    assert "5 of 5" in page.text
    assert "4 of 5" in page.text
    assert "misses: calibration" in page.text


def test_headline_tells_how_far_chance_moves_the_calibration_of_the_truth(page: Page) -> None:
    assert "Of the true risks, which nobody can better, it is here: " in page.text


def test_headline_says_which_lightgbm_it_compares_with(synthetic_run: Path, tmp_path: Path) -> None:
    assert ">LightGBM AUROC<" in report(synthetic_run, tmp_path / "one.html").read_text()
    run = tmp_path / "run"
    shutil.copytree(synthetic_run, run)
    for path in (run / "artifacts" / "evaluation").glob("*.json"):
        path.write_text(path.read_text().replace('"method": "lightgbm"', '"method": "lightgbm-local"'))
    assert ">LightGBM (local) AUROC<" in report(run, tmp_path / "other.html").read_text()


def test_a_fine_tuned_run_is_not_called_zero_shot(synthetic_run: Path, tmp_path: Path) -> None:
    assert "zero-shot" in make(synthetic_run, tmp_path)
    run = tmp_path / "run"
    shutil.copytree(synthetic_run, run)
    step = {"kind": "finetune", "task": "lactate_gt_4_24h"}
    settings = yaml.safe_load((run / "run.yaml").read_text())
    (run / "run.yaml").write_text(yaml.safe_dump(settings | {"adapted": [{"kind": "adapt"}, step]}))
    told = make(run, tmp_path)
    assert "zero-shot" not in told.lower()
    assert "<em>fine-tuned</em> on labels of: Lactate &gt; 4, 24" in told
    assert "which the model never saw in pre-training" in told


@pytest.mark.parametrize("habit", ["looking", "levels"])
def test_headline_tells_of_a_level_set_by_the_habits_of_the_hospital(
    synthetic_run: Path, tmp_path: Path, habit: str
) -> None:
    assert "How often a hospital measures" not in report(synthetic_run, tmp_path / "one.html").read_text()
    run = tmp_path / "run"
    shutil.copytree(synthetic_run, run)
    for path in (run / "artifacts" / "evaluation").glob("*.json"):
        content = json.loads(path.read_text())
        ours = [entry for entry in content["entries"] if look(entry["method"]).kind == "ours"]
        ratio = {"expected_observed": {"value": 1.234, "lower": 1.1, "upper": 1.3}}
        content["entries"] += [e | {"method": f"sojourn-{habit}", "metrics": e["metrics"] | ratio} for e in ours]
        path.write_text(json.dumps(content))
    told = report(run, tmp_path / "other.html").read_text()
    assert "How often a hospital measures" in told
    assert "1.23 (1.10–1.30)" in told
    assert "Sojourn, level of the site" in told
    assert "4 of 5" in told  # the headline's figures stay those of the plain method


def test_figures_and_tables_are_accessible(page: Page) -> None:
    figures = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(figures) == 7
    assert all(svg["aria-label"] for svg in figures)
    assert len(page.all("caption")) == len(page.all("table")) > 10
    assert all(head.get("scope") for head in page.all("th"))


def test_same_input_gives_same_bytes(synthetic_run: Path, tmp_path: Path) -> None:
    first, second = (report(synthetic_run, tmp_path / name) for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()


def test_output_may_be_a_folder_and_replaces_an_earlier_report(synthetic_run: Path, tmp_path: Path) -> None:
    assert report(synthetic_run, tmp_path) == tmp_path / "report.html"
    assert report(synthetic_run, tmp_path / "new", title="T & T") == tmp_path / "new" / "report.html"
    assert report(synthetic_run, tmp_path) == tmp_path / "report.html"
    assert "<title>T &amp; T</title>" in (tmp_path / "new" / "report.html").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "report.html"]


def test_missing_artifacts_name_the_command_that_makes_them(tmp_path: Path) -> None:
    run = tmp_path / "bare"
    (run / "artifacts").mkdir(parents=True)
    page = Page(make(run, tmp_path))
    assert [section["id"] for section in page.all("section")] == ANCHORS
    assert len([note for note in page.all("div") if note.get("class") == "note missing"]) == 8
    for command in ("sojourn pretrain STORE bare", "sojourn evaluate PREDICTIONS bare/", "sojourn simulate bare STORE"):
        assert command in page.text
    assert not [svg for svg in page.all("svg") if svg.get("role") == "img"]


@pytest.mark.parametrize("name", ["run.yaml", "metrics.jsonl", "artifacts/data.json", "artifacts/fits.json"])
def test_each_artifact_may_be_missing(synthetic_run: Path, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(synthetic_run, run)
    (run / name).unlink()
    page = Page(make(run, tmp_path))
    assert len([note for note in page.all("div") if note.get("class") == "note missing"]) == 1


def test_damaged_artifacts_are_said(synthetic_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(synthetic_run, run)
    (run / "run.yaml").write_text("a: [1,")
    (run / "artifacts" / "fits.json").write_text('{"value": [')
    (run / "artifacts" / "data.json").write_text("[1, 2]")
    (run / "model.safetensors").write_bytes(b"\x05\x00\x00\x00\x00\x00\x00\x00[1,2]")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4010, "spl')
    text = Page(make(run, tmp_path)).text
    for problem in (
        "run.yaml is not readable YAML",
        "artifacts/fits.json is not readable JSON",
        "artifacts/data.json holds no JSON object",
        "model.safetensors is not a readable safetensors file",
        "1 line of metrics.jsonl could not be read",
    ):
        assert problem in text


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="must be the folder of a run"):
        report(tmp_path, tmp_path / "report.html")
    with pytest.raises(RunError, match="sojourn pretrain"):
        report(tmp_path / "nothing", tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def spoil(value: object) -> object:
    """Put a hostile text into every string, key and list of free-form content."""
    if isinstance(value, dict):
        return {**{key: spoil(inner) for key, inner in value.items()}, HOSTILE: HOSTILE}
    if isinstance(value, list):
        return [spoil(inner) for inner in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


def test_hostile_strings_are_escaped(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run")
    for path in (run / "artifacts").rglob("*.json"):
        path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    settings = yaml.safe_load((run / "run.yaml").read_text())
    (run / "run.yaml").write_text(yaml.safe_dump(spoil(settings)))
    text = report(run, tmp_path / "report.html", title=HOSTILE).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.all("script")
    assert not page.all("img")
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert "&lt;script&gt;alert(" in text
    assert [section["id"] for section in page.all("section")] == ANCHORS


@pytest.mark.parametrize("wrong", [None, "much", [None], -1e300])
def test_wrong_types_never_crash(tmp_path: Path, wrong: object) -> None:
    run = write_synthetic_run(tmp_path / "run", by_site=False)
    for path in (run / "artifacts").rglob("*.json"):
        content = json.loads(path.read_text())
        for first in content:
            path.write_text(json.dumps({**content, first: wrong}))
            make(run, tmp_path)
            if isinstance(content[first], list) and content[first] and isinstance(content[first][0], dict):
                path.write_text(json.dumps({**content, first: [dict.fromkeys(content[first][0], wrong)]}))
                make(run, tmp_path)
        path.write_text(json.dumps(content))


def test_overall_only_evaluation_says_that_hospitals_are_not_told_apart(tmp_path: Path) -> None:
    run = write_synthetic_run(tmp_path / "run", by_site=False)
    page = Page(make(run, tmp_path))
    assert "evaluated without telling their hospitals apart" in page.text
    assert "Discrimination at each hospital" not in page.text
