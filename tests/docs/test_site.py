"""The built site: nothing is missing in it, no link leads nowhere, nothing is fetched from elsewhere."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """The anchors of a page, its links, and what a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in ("img", "script", "source", "iframe") and "src" in found:
            self.loaded.append(found["src"])
        if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload", "modulepreload"):
            self.loaded.append(found["href"])

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The site, built strictly from a copy of the pages."""
    folder = tmp_path_factory.mktemp("site")
    made = shutil.ignore_patterns("commands.md", "experiments.md", "__pycache__")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=made)
    subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), str(folder / "docs" / "reference")], check=True, cwd=ROOT
    )
    config = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    assert 'paths = ["."]' in config
    (folder / "zensical.toml").write_text(config.replace('paths = ["."]', f'paths = ["{ROOT}"]'), encoding="utf-8")
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return {path: Page(path.read_text(encoding="utf-8")) for path in (folder / "site").rglob("*.html")}


def outside(address: str) -> bool:
    return bool(urlsplit(address).scheme or address.startswith("//"))


def test_every_link_and_anchor_of_the_site_leads_somewhere(site: dict[Path, Page]) -> None:
    lost = [f"{path.name}: {link}" for path, page in site.items() for link in _broken(path, page, site)]
    assert not lost, "\n".join(lost)
    assert sum(len(page.links) for page in site.values()) > 500


def _broken(path: Path, page: Page, site: dict[Path, Page]) -> Iterator[str]:
    if path.name == "404.html":  # its links hold from the server's root
        return
    for link in page.links:
        if outside(link):
            continue
        name, anchor = urldefrag(link)
        target = path if not name else (path.parent / unquote(name)).resolve()
        target = target / "index.html" if target.is_dir() else target
        if not target.exists() or (anchor and target in site and unquote(anchor) not in site[target].anchors):
            yield link


def test_the_site_loads_nothing_from_elsewhere(site: dict[Path, Page]) -> None:
    loaded = [(path.name, address) for path, page in site.items() for address in page.loaded]
    assert loaded
    assert not [each for each in loaded if outside(each[1])]
    for path, page in site.items():
        here = [] if path.name == "404.html" else page.loaded
        assert not [each for each in here if not (path.parent / unquote(urlsplit(each).path)).exists()], path


def test_every_page_is_in_the_navigation_and_every_picture_on_a_page(site: dict[Path, Page]) -> None:
    config = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert f'"{page.relative_to(ROOT / "docs")}"' in config, page
    shown = {Path(each).name for page in site.values() for each in page.loaded}
    assert {picture.name for picture in (ROOT / "docs" / "pictures").iterdir()} <= shown


def test_every_command_of_the_readme_is_in_the_reference(site: dict[Path, Page]) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)*)", readme)) - {"results", "pytest"}
    page = next(page for path, page in site.items() if path.name == "commands.html")
    anchors = page.anchors
    assert "SEARCH|TRIAL <str>" in page.words
    assert "\\" not in page.words
    assert {"search.run", "results.show", "trainer.replay"} <= named
    assert {name.replace(".", "") for name in named} <= anchors


def test_every_public_field_of_an_experiment_stands_in_the_reference_with_its_meaning(site: dict[Path, Page]) -> None:
    page = next(page for path, page in site.items() if path.parts[-2:] == ("reference", "search.html"))
    assert "search.experiment.Experiment.tune_lr" in page.anchors
    assert "asha and hyperband keep the best 1/reduction of each rung" in page.words
