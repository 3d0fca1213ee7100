"""Claims about `fedklpr report`: where the page is, what is refused, and a whole run's page."""

import subprocess
import sys
import urllib.request

import pytest
from typer.testing import CliRunner

from fedklpr_flwr.commands.__main__ import app
from fedklpr_flwr.errors import FedKlprError


def typed(*words):
    return CliRunner().invoke(app(), ["report", *map(str, words)])


def refusal(*words):
    ran = typed(*words)
    assert isinstance(ran.exception, FedKlprError), ran.output
    assert ran.stdout == ""
    return str(ran.exception)


@pytest.mark.slow
def test_the_page_lies_in_the_run_folder_or_where_asked(undisturbed, tmp_path):
    out = tmp_path / "page.html"
    ran = typed(undisturbed.folder, "--out", out, "--queries", 1)
    assert ran.exit_code == 0, ran.output
    assert f"report in {out}" in ran.stdout
    assert "with pictures of people" in ran.stdout
    assert out.read_text().startswith("<!DOCTYPE html>")
    ran = typed(undisturbed.folder, "report.pictures=false")
    assert f"report in {undisturbed.folder / 'report.html'}" in ran.stdout
    assert "people" not in ran.stdout
    assert "data:image" not in (undisturbed.folder / "report.html").read_text()
    (undisturbed.folder / "report.html").unlink()


def test_the_same_folder_gives_the_same_page(undisturbed, tmp_path):
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    for page in pages:
        typed(undisturbed.folder, "--out", page)
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_partial_page_is_called_so(tmp_path):
    (tmp_path / "status.json").write_text('{"status": "failed", "message": "no node came"}')
    ran = typed(tmp_path)
    assert ran.exit_code == 0
    assert "partial: the run failed before its first round was over: no node came" in ran.stdout
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=1"], "seed=1: fedklpr report takes"),
        (["report.pictures=perhaps"], "report.pictures=true or report.pictures=false"),
        (["--data", "folder"], "--data folder says something of one site"),
        (["--site", "ash", "--data", "folder"], "--data folder needs --root"),
        (["--site", "ash", "--root", "/x"], "--root /x needs --data"),
        (["--site", "oak"], "--site oak"),
        (["--port", "80"], "add --serve"),
        (["--serve", "--out", "x.html"], "--serve writes no file"),
        (["--out", "/nowhere/x.html"], "/nowhere/x.html cannot be written"),
    ],
)
def test_what_means_nothing_is_refused(undisturbed, words, said):
    assert said in refusal(undisturbed.folder, *words)


def test_a_folder_that_is_no_run_is_refused_with_and_without_a_browser(tmp_path):
    assert "holds no run" in refusal(tmp_path)
    assert "holds no run" in refusal(tmp_path, "--serve")


@pytest.mark.slow
def test_a_whole_smoke_run_has_a_page_and_is_served(tmp_path):
    run = tmp_path / "run"
    fedklpr = [sys.executable, "-m", "fedklpr_flwr.commands"]
    subprocess.run(
        [*fedklpr, "simulate", "experiment=smoke", f"run.dir={run}"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    subprocess.run([*fedklpr, "report", str(run)], check=True, capture_output=True, timeout=120)
    page = (run / "report.html").read_text()
    for words in ("airport", "street", "yard", "2 of 2", "KLPWA weights", "layer4.conv2", "✓", "✗"):
        assert words in page
    assert "partial" not in page
    command = [*fedklpr, "report", str(run), "--serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        try:
            address = serving.stdout.readline().split()[0]
            with urllib.request.urlopen(address, timeout=120) as answer:
                assert answer.read().decode() == page
        finally:
            serving.terminate()
            assert serving.wait(timeout=60) == 0
