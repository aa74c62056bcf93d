"""optuna-dashboard opens an exported study: its own server, asked over HTTP and, in Chromium, seen."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest
from typer.testing import CliRunner

from search.export_study import app

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
from recorded import new_store, search, trial

pytestmark = pytest.mark.slow
COMMAND = shutil.which("optuna-dashboard", path=str(Path(sys.executable).parent))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of a dashboard that serves the export of a search whose trials came to all sorts of ends."""
    if COMMAND is None:
        pytest.skip("optuna-dashboard is not installed")
    folder = tmp_path_factory.mktemp("study")
    with new_store(folder) as store:
        name = search(store, rungs=(1,))
        trial(store, name, [0.3, 0.5, 0.6], hidden=8, lr=1e-3)
        trial(store, name, [0.3, 0.5, 0.7], ffn="fff", lr=2e-3, **{"ffn.fff.depth": 3})
        trial(store, name, [0.3, 0.4, 0.5], ffn="fff", lr=3e-3, **{"ffn.fff.depth": 5})
        trial(store, name, [0.2], status="stopped", hidden=64, lr=1e-2)
        trial(store, name, [], status="diverged", hidden=16, lr=5e-3)
        assert CliRunner().invoke(app, [name, str(folder / "study.db"), "--storage", store.url]).exit_code == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [COMMAND, f"sqlite:///{folder}/study.db", "--host", "127.0.0.1", "--port", str(port), "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/studies", timeout=10).close()
                break
            except (URLError, OSError):
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline, "optuna-dashboard does not answer"
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.communicate()


def asked(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


def test_the_dashboard_serves_the_study_with_its_question_and_what_all_trials_share(served):
    (study,) = asked(f"{served}/api/studies")["study_summaries"]
    assert (study["study_name"], study["directions"]) == ("toy-1", ["maximize"])
    told = {each["key"]: each["value"] for each in study["user_attrs"]}
    assert told["question"] == "Which is best?"
    assert json.loads(told["common"])["data"] == "digits"


def test_the_dashboard_serves_every_trial_with_its_keys_curve_and_end(served):
    trials = asked(f"{served}/api/studies/1")["trials"]
    assert [each["state"] for each in trials] == ["Complete", "Complete", "Complete", "Pruned", "Fail"]
    assert [each.get("values") for each in trials[:3]] == [[0.6], [0.7], [0.5]]
    curve = [(each["step"], each["value"]) for each in trials[0]["intermediate_values"]]
    assert curve == [(1, 0.3), (2, 0.5), (3, 0.6)]
    assert [(each["step"], each["value"]) for each in trials[3]["intermediate_values"]] == [(1, 0.2)]
    keys = {each["name"]: each["param_external_value"] for each in trials[1]["params"]}
    assert {"ffn": "fff", "ffn.fff.depth": "3", "lr": "0.002"}.items() <= keys.items()
    assert {each["key"]: each["value"] for each in trials[1]["user_attrs"]}["trial"] == "toy-1.2"


def test_the_pages_show_the_study_and_its_best_trial_in_a_browser_without_an_error(served):
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        page = browser.new_page()
        page.set_default_timeout(1000 * PATIENCE_SECONDS)
        broken = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("response", lambda answer: broken.append(answer.url) if answer.status >= 400 else None)
        page.goto(f"{served}/dashboard")
        page.get_by_text("toy-1").first.wait_for()
        page.goto(f"{served}/dashboard/studies/1")
        page.get_by_text("Best Trial").first.wait_for()
        page.locator(".js-plotly-plot .main-svg").first.wait_for()  # the history of the values, drawn
        page.goto(f"{served}/dashboard/studies/1/trials")
        page.get_by_text("Trial 3").first.wait_for()
        browser.close()
    assert broken == []
