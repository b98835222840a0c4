"""The report of a run: true to the log, harmless whatever the log says, and one file."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantoolkit import charts
from gantoolkit.charts import MAX_POINTS, chart
from gantoolkit.errors import InputError
from gantoolkit.health import MEANINGS, UNITS, alarms, telling
from gantoolkit.report import write_report
from gantoolkit.report_parts import ALARMS_SHOWN, ASIDE_WIDTH, SAMPLE_WIDTH
from gantoolkit.runlog import LOG_NAME, RunLog
from tests.pages import Page, points_of


def report(run: Path) -> Page:
    path = write_report(run)
    assert path == run / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def write_config(run: Path, **values: Any) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps({"task": "superres", **values}))


def test_a_run_becomes_curves_samples_figures_and_commands(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    (run / "samples").mkdir(parents=True)
    (run / "model").mkdir()
    (run / "events").mkdir()
    write_config(run, seed=7, versions={"torch": "2.13.0", "devices": {"cpu": "2 threads"}}, config={"scale": 4})
    with RunLog(run, tensorboard=False) as log:
        for step in range(1, 2001):
            losses = {"critic/adversarial": 0.5, "generator/adversarial": 1.0, "generator/pixel": 1 / step}
            stage = "fidelity" if step < 500 else "adversarial"
            log.step(step * 10, step, stage, rate=100.0, losses=losses, grad_norm={"critic": 1.0},
                     lr={"critic": 2e-4}, gauges={"equilibrium": 0.25})  # fmt: skip
            if step % 100 == 0:
                name = f"samples/nimg-{step * 10:09d}.png"
                Image.new("RGB", (1000, 40), (step // 10, 0, 0)).save(run / name)
                log.sample(step * 10, name)
        card = {"name": "PSNR-Y", "unit": "dB", "n": 12, "protocol": "Y of RGB, crop 4"}
        for nimg, value in ((10_000, 26.0), (20_000, 27.125)):
            log.metric(nimg, {**card, "value": value})
        log.event(12_000, "step 1200 skipped: critic/r1 is not finite", "warning")
        log.event(20_000, "run done")
    page = report(run)
    text = "\n".join(page.text)

    captions = re.findall(
        r"<figcaption>(.*?)(?: <small>(.*?)</small>)?</figcaption>", (run / "report.html").read_text()
    )
    assert [name for name in captions if not name[0].startswith("at ")] == [
        ("Equilibrium", ""), ("Losses of critic", ""), ("Losses of generator", "logarithmic"), ("Rate", "nimg/s"),
        ("Gradient norms", "L2 norm"), ("Learning rates", ""), ("PSNR-Y", "dB"),
    ]  # fmt: skip
    raw = page.polylines("raw")
    assert len(raw) == len(page.polylines("smooth")) == 8
    raw = raw[1:7] + raw[:1] + raw[7:]  # the gauge comes first
    # A constant's bucket has one lowest and highest point, the fall of 1/step has two.
    assert sorted({len(line) for line in raw[:7]}) == [MAX_POINTS // 2, MAX_POINTS]
    assert len(raw[7]) == 2 and raw[7][0][1] > raw[7][1][1], "a growing figure goes up"
    assert raw[0][0][0] == charts.LEFT and raw[2][0][1] < raw[2][-1][1], "a falling loss goes down"
    for line in raw:
        assert all(charts.LEFT <= x <= charts.WIDTH - charts.RIGHT for x, _ in line)
        assert all(charts.TOP <= y <= charts.HEIGHT - charts.BOTTOM for _, y in line)
    assert {attrs["x1"] for attrs in page.all("line", "stage")} >= {f"{charts.LEFT:.1f}"}

    pictures = [attrs["src"] or "" for attrs in page.all("img")]
    assert len(pictures) == 8 and "at 20k images" in text and "at 1k images" in text
    last = Image.open(io.BytesIO(base64.b64decode(pictures[-1].removeprefix("data:image/png;base64,"))))
    assert last.size == (SAMPLE_WIDTH, 20) and last.getpixel((9, 9)) == (200, 0, 0)

    for expected in ("Finished", "20,000", "3:20", "2.13.0", "cpu: 2 threads", "27.12 dB", "Y of RGB, crop 4",
                     "step 1200 skipped: critic/r1 is not finite", '"scale": 4'):  # fmt: skip
        assert expected in text, expected
    assert f"gantk run superres INPUT --model '{run}/model'" in text and "tensorboard --logdir" in text


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    write_config(tmp_path)
    page = report(tmp_path)
    policy = next(attrs for attrs in page.all("meta") if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    html = (tmp_path / "report.html").read_text()
    assert not re.search(r"https?:|url\(|@import|<script|<link", html)


EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_whatever_a_run_says_is_text(tmp_path: Path) -> None:
    run = tmp_path / "<script>alert(2)<"
    write_config(run, seed=EVIL, versions={EVIL: EVIL}, config={EVIL: EVIL}, command=["gantk", EVIL], total_nimg=99)
    (run / "config.json").write_text((run / "config.json").read_text().replace('"superres"', json.dumps(EVIL)))
    with RunLog(run, tensorboard=False) as log:
        for step in (1, 2):
            gauges = {EVIL: 2.0, f"{EVIL}/{EVIL}": 1.0, "collapse/recall": 1.0}
            log.step(step, step, f"{EVIL}{step}", losses={f"{EVIL}/{EVIL}": 1.0}, gauges=gauges)
            log.metric(step, {"name": EVIL, "value": 1.0, "unit": EVIL, "protocol": {EVIL: EVIL}, "n": EVIL,
                              "interval": [EVIL, EVIL], "higher_is_better": EVIL})  # fmt: skip
        log.sample(2, EVIL)
        log.sample(2, EVIL, name=EVIL, aside=True)
        log.event(2, f"collapse: {EVIL}; {EVIL}", "warning")
        log.event(2, EVIL, "error")
        log.event(2, EVIL, EVIL)  # type: ignore[arg-type]
    page = report(run)
    assert {tag for tag, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "section", "h1", "h2", "p", "dl", "div", "dt", "dd",
        "pre", "figure", "figcaption", "small", "svg", "g", "line", "text", "polyline", "path", "circle",
        "ul", "li", "b", "table", "tr", "th", "td", "details", "summary", "polygon",
    }  # fmt: skip
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    # five sections at least hold it: the alarm stands in a list, in its mark and among the events
    assert "".join(page.text).count("<script>alert(1)</script>") > 20
    assert any(f"collapse: {EVIL}; {EVIL}" in text for text in page.text)


def test_a_sample_outside_the_run_is_not_shown(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "private.png")
    run = tmp_path / "run"
    with RunLog(run, tensorboard=False) as log:
        for file in ("../private.png", str(tmp_path / "private.png"), "missing.png", "log.jsonl"):
            log.sample(1, file)
    page = report(run)
    assert page.all("img") == [] and page.text.count("This picture cannot be read.") == 4


@pytest.mark.parametrize(
    "config", [None, b"", b"{", b"[1]", b"\xff", b'{"config": 3, "versions": 4, "total_nimg": "x"}']
)
def test_an_empty_run_says_so(tmp_path: Path, config: bytes | None) -> None:
    if config is not None:
        (tmp_path / "config.json").write_bytes(config)
    text = "\n".join(report(tmp_path).text)
    assert "Not started: no step has been logged" in text and "No step has been logged yet." in text
    assert "No sample has been drawn yet." in text
    assert ("config.json is missing" in text) == (config is None or not config.startswith(b'{"config"'))


def test_a_half_finished_run_says_how_far_it_is(tmp_path: Path) -> None:
    write_config(tmp_path, total_nimg=400, command=["gantk", "train", "superres", "my photos"])
    with RunLog(tmp_path, tensorboard=False) as log:
        log.step(100, 1, "fidelity", losses={"generator/pixel": 0.5})
    with (tmp_path / LOG_NAME).open("ab") as file:
        file.write(b'{"kind":"step","nimg":200,"lo')
    page = report(tmp_path)
    text = "\n".join(page.text)
    assert "Unfinished: 25% of 400 images shown" in text
    assert "gantk train superres 'my photos'" in text
    assert len(page.all("circle", "dot")) == 1, "a single step is a dot"
    with RunLog(tmp_path, tensorboard=False) as log:
        log.event(100, "critic/adversarial was not finite five times in a row", "error")
        log.event(100, "run failed", "error")
    text = "\n".join(report(tmp_path).text)
    assert "Stopped at 100 images: critic/adversarial was not finite five times in a row" in text


def test_non_finite_steps_are_marked(tmp_path: Path) -> None:
    with RunLog(tmp_path, tensorboard=False) as log:
        for step in range(1, 21):
            log.step(step, step, "s", losses={"critic/r1": math.nan if step in (5, 6) else 1.0})
    page = report(tmp_path)
    assert len(page.polylines("raw")[0]) == 18
    assert len(page.all("path", "bad")) == 2 and page.text.count("not finite") == 2


def test_a_failed_write_keeps_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(tmp_path).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


# ---- health ----

COLLAPSED = "collapse: the samples differ only 20% as much as real ones; lower the rate"


def gauged(run: Path, *events: tuple[int, str, str], steps: int = 40, **gauges: float) -> Page:
    """The report of a run whose steps at nimg 100, 200, … have the readings, with the events where they belong."""
    readings = gauges or {"collapse/diversity": 0.5, "equilibrium/win": 0.6, "equilibrium/real": 30.0, "mine/x": 1.0}
    with RunLog(run, tensorboard=False) as log:
        for step in range(1, steps + 1):
            log.step(step * 100, step, "s", gauges=readings)
            for nimg, text, level in events:
                if nimg == step * 100:
                    log.event(nimg, text, level)  # type: ignore[arg-type]
    return report(run)


def section(run: Path, title: str) -> str:
    """The HTML of one section of the report; "" where it is not there."""
    parts = re.findall(r"<section><h2>(.*?)</h2>(.*?)</section>", (run / "report.html").read_text(), re.DOTALL)
    return dict(parts).get(title, "")


def test_silent_gauges_get_charts_with_their_meaning(tmp_path: Path) -> None:
    page = gauged(tmp_path, (400, "collapse: not an alarm but news", "info"), (500, "other: a warning", "warning"))
    health = section(tmp_path, "Health")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", health)
    assert captions == ["Collapse", "Equilibrium", "Mine", "Equilibrium <small>mean logit</small>"]
    assert "No gauge gave alarm." in page.text and 'class="alarm"' not in health
    assert MEANINGS["equilibrium/win"] in health and MEANINGS["collapse/recall"] not in health
    assert "Gauges" not in section(tmp_path, "Curves"), "the gauges are drawn twice"


def test_alarms_stand_in_words_and_on_their_gauges_curves(tmp_path: Path) -> None:
    mine = "mine: x is large; make it smaller"
    page = gauged(tmp_path, (1000, COLLAPSED, "warning"), (3000, COLLAPSED, "warning"), (2000, mine, "warning"))
    health = section(tmp_path, "Health")
    words, collapse, _, other, _ = re.split("<figure>", health)
    assert f"<b>At 1k images, 2 times until 3k:</b> {COLLAPSED}" in words
    assert f"<b>At 2k images:</b> {mine}" in words and "No gauge" not in health
    assert collapse.count('class="alarm"') == 2 and f"<title>1k: {COLLAPSED}</title>" in collapse
    assert other.count('class="alarm"') == 1
    places = [float(attrs["x1"] or 0) for attrs in page.all("line") if attrs.get("class") is None]
    span = charts.WIDTH - charts.RIGHT - charts.LEFT
    expected = [charts.LEFT + span * (nimg - 100) / 3900 for nimg in (1000, 3000, 2000)]
    assert places == pytest.approx(expected, abs=0.51)


def test_an_alarm_survives_its_roll_back(tmp_path: Path) -> None:
    gauged(tmp_path, (500, f"rolled back to nimg-000000500: {COLLAPSED}; the rate is now ×0.5", "warning"))
    assert section(tmp_path, "Health").count(COLLAPSED) == 2


def test_alarms_without_readings_and_many_alarms(tmp_path: Path) -> None:
    with RunLog(tmp_path, tensorboard=False) as log:
        for index in range(ALARMS_SHOWN + 3):
            log.event(index, f"instability: {index} bad steps; clip", "warning")
    page = report(tmp_path)
    listed = section(tmp_path, "Health")
    assert listed.count("<li>") == ALARMS_SHOWN and "The 3 oldest alarms are only in log.jsonl." in page.text
    assert "instability: 2 bad" not in listed and "instability: 3 bad" in listed


def test_many_alarms_leave_one_mark_a_pixel() -> None:
    drawn = chart("t", {"s": [(0, 1.0), (10**6, 2.0)]}, alarms=[(nimg, "x") for nimg in range(0, 10**6, 100)])
    assert drawn.count('class="alarm"') <= charts.WIDTH
    late = Page(chart("t", {"s": [(0, 1.0), (10, 2.0)]}, alarms=[(40, "after the last row")]))
    assert float(late.all("line", None)[-1]["x1"] or 0) <= charts.WIDTH - charts.RIGHT


def test_a_run_without_gauges_has_no_health(tmp_path: Path) -> None:
    with RunLog(tmp_path, tensorboard=False) as log:
        log.step(1, 1, "s")
        log.event(1, "step 3 skipped: critic/r1 is not finite", "warning")
    report(tmp_path)
    assert section(tmp_path, "Health") == "" and section(tmp_path, "Events")


def test_known_readings_are_those_that_the_gauges_give() -> None:
    import torch

    from gantoolkit.game import Step
    from gantoolkit.gauges import Collapse, Equilibrium, Instability, verdicts

    generator = torch.Generator().manual_seed(0)
    reals = torch.randn(64, 2, generator=generator)
    labels = torch.arange(64) % 2
    seen = {name: float(value) for name, value in verdicts(reals, reals, reals).items()}
    gauges = [Equilibrium(), Instability(), Collapse(reals, lambda n, *_: reals[:n], lambda x: x, labels, n=32)]
    for step in range(1, 5001):
        for gauge in gauges:
            gauge.observe(Step(step * 64, step, {"critic/a": 1.0}, {"generator": 1.0}, seen))
        if all(gauge.readings() for gauge in gauges):
            break
    given = {name for gauge in gauges for name in gauge.readings()}
    assert given == MEANINGS.keys() and given >= UNITS.keys()


def test_the_most_telling_readings_come_first() -> None:
    row = {"gauges": {"mine/x": 1.0, "equilibrium/real": 3.0, "collapse/diversity": None, "equilibrium/win": 0.5,
                      "mine/text": "text", "plain": 2.0}}  # fmt: skip
    assert telling(row) == {"win": 0.5, "diversity": None, "real": 3.0, "x": 1.0, "plain": 2.0}
    assert list(telling(row)) == ["win", "diversity", "real", "x", "plain"]
    assert telling({}) == telling({"gauges": [1]}) == {} and alarms([{"kind": "event", "nimg": 1}]) == []


# ---- figures ----


def cards(run: Path, *values: float, name: str = "FD", **card: Any) -> str:
    """The figures of a run that measured one figure every 1000 images."""
    with RunLog(run, tensorboard=False) as log:
        for index, value in enumerate(values):
            log.metric((index + 1) * 1000, {"name": name, "value": value, "n": 50, **card})
    report(run)
    return " ".join(re.sub(r"<[^>]*>", " ", section(run, "Figures")).split())


def test_a_figure_has_its_interval_direction_and_best(tmp_path: Path) -> None:
    down = cards(tmp_path / "1", 30.0, 20.0, 25.0, interval=[24.0, 26.5], higher_is_better=False,
                 protocol={"features": "raw pixels", "seed": 0})  # fmt: skip
    assert down.endswith("FD ↓ 25 [24, 26.5] 3k 20 at 2k 50 features raw pixels, seed 0")
    up = cards(tmp_path / "2", 30.0, 20.0, 25.0, higher_is_better=True)
    assert up.endswith("FD ↑ 25 3k 30 at 1k 50 not stated")
    old = cards(tmp_path / "3", 30.0, unit="dB")
    assert old == "figure latest at nimg n protocol FD 30 dB 1k 50 not stated"
    assert cards(tmp_path / "4", 30.0, 20.0).endswith("FD 20 2k – 50 not stated"), "nobody knows which is better"


def test_only_figures_of_one_protocol_are_compared(tmp_path: Path) -> None:
    with RunLog(tmp_path, tensorboard=False) as log:
        for nimg, value, size in ((1000, 1.0, 10), (2000, 8.0, 50), (3000, 9.0, 50)):
            log.metric(nimg, {"name": "FD", "value": value, "n": size, "higher_is_better": False, "protocol": {}})
    report(tmp_path)
    assert "8 at 2k" in section(tmp_path, "Figures") and "1 at 1k" not in section(tmp_path, "Figures")


def test_an_interval_is_a_band_around_its_curve(tmp_path: Path) -> None:
    with RunLog(tmp_path, tensorboard=False) as log:
        for nimg, value in ((0, 1.0), (1000, 2.0), (2000, 3.0)):
            log.metric(nimg, {"name": "KID", "value": value, "interval": [value - 1, value + 1]})
    page = report(tmp_path)
    (band,) = [points_of(attrs["points"] or "") for attrs in page.all("polygon")]
    (line,) = page.polylines("raw")
    assert [x for x, _ in band[:3]] == [x for x, _ in line] == [x for x, _ in band[:2:-1]]
    for (_, high), (_, middle), (_, low) in zip(band[:3], line, band[:2:-1], strict=True):
        assert high < middle < low and middle == pytest.approx((high + low) / 2, abs=0.11)
    assert band[3][1] <= charts.HEIGHT - charts.BOTTOM and band[2][1] >= charts.TOP


# ---- pictures ----


def test_asides_get_sections_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    with RunLog(tmp_path, tensorboard=False) as log:
        for step in range(1, 4):
            for name, size, extra in (
                ("samples", (600, 60), {}),
                ("nearest neighbours", (100, 20), {"aside": True}),
                ("interpolation", (2000, 50), {"aside": True}),
            ):
                file = f"samples/{name}-{step}.png"
                Image.new("RGB", size, (step, 0, 0)).save(tmp_path / file)
                log.sample(step, file, name=name, **extra)
        log.sample(3, "samples/samples-1.png", aside=True)
    page = report(tmp_path)
    assert [len(re.findall("<img", section(tmp_path, title))) for title in (
        "Samples over time", "Nearest neighbours", "Interpolation", "Further pictures")] == [3, 1, 1, 1]  # fmt: skip
    near, strip, _ = page.all("img")[3:]
    for attrs, size in ((near, (100, 20)), (strip, (ASIDE_WIDTH, round(50 * ASIDE_WIDTH / 2000)))):
        data = base64.b64decode((attrs["src"] or "").removeprefix("data:image/png;base64,"))
        shown = Image.open(io.BytesIO(data))
        assert shown.size == size and shown.getpixel((9, 9)) == (3, 0, 0), "not the latest"
    assert near["width"] == "1100" and near["class"] == "pixels" and "width" not in strip


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["gauges", "losses", "rate", "stage", "card", "file", "name", "aside", "text", "level", "x"])
ROW = st.dictionaries(KEYS, ODD, max_size=6)
CARD = st.dictionaries(st.sampled_from(["name", "value", "interval", "n", "unit", "higher_is_better"]), ODD)


@given(st.lists(st.tuples(st.sampled_from(["step", "metric", "sample", "event"]), ROW, CARD), max_size=6))
@settings(max_examples=60, deadline=None)
def test_odd_rows_make_a_page_all_the_same(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, dict[str, Any], dict[str, Any]]]
) -> None:
    run = tmp_path_factory.mktemp("odd")
    lines = [{"card": card, **row, "kind": kind, "nimg": index} for index, (kind, row, card) in enumerate(rows)]
    (run / LOG_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with mock.patch("os.fsync"):  # the disk is not what is tried here
        assert report(run).all("h1")
