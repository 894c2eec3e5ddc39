"""The pages in a real browser: lanes are drawn, zoom, hover and links work, nothing complains, no network."""

from __future__ import annotations

import base64
import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks import browser as browsers
from checks.browser import Browser, Page
from checks.selftest.report_runs import AGAIN, OFFSET_NS, Drilled, drill, judged, saved
from checks.selftest.synthetic import VIP, ns
from checks.selftest.test_report_pcapng import HEADER, frame_of, mac, record
from harness.report.analyze import analyze
from harness.report.evidence import write_artifacts
from harness.report.html.compare import write_comparison
from harness.report.html.suite import write_suite
from harness.report.matrix import Matrix, cells
from harness.timeline import Event, Timeline

PROGRAM = browsers.chromium()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium is installed (apt install chromium), so no page is looked at"
)
BOX = "document.querySelector('#lanes .u-over').getBoundingClientRect().toJSON()"
VIEW = "document.documentElement.dataset.view.split(' ').map(Number)"


def syn_of(attempt: Event) -> bytes:
    """The SYN of a client's attempt."""
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0)
    ip += socket.inet_aton(Drilled.ip(attempt.client)) + socket.inet_aton(VIP)
    tcp = struct.pack("!HHIIBBHHH", 20000 + attempt.seq, 6443, 0, 0, 0x50, 0x02, 0, 0, 0)
    return mac(Drilled.mac("lb1")) + mac(Drilled.mac("lb2")) + b"\x08\x00" + ip + tcp


def with_syns(timeline: Timeline) -> bytes:
    """What tcpdump would have written, the clients' SYNs included."""
    frames = [(event.t, frame_of(event)) for event in timeline.of("vrrp", "arp")]
    frames += [(e.t + 50_000, syn_of(e)) for e in timeline.of("probe", client="cl", stream="new")]
    return HEADER + b"".join(record(t + OFFSET_NS, data) for t, data in sorted(frames))


def written(folder: Path, lab: Drilled) -> Path:
    """A whole artifact folder with its page; gives the page."""
    saved(folder, lab)
    timeline, verdicts = judged(lab)
    (folder / "captures").mkdir()
    (folder / "captures" / "front.pcap").write_bytes(with_syns(timeline))
    write_artifacts(folder, timeline, verdicts, AGAIN)
    return folder / "index.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all of these."""
    with browsers.running(str(PROGRAM), tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a drill that passed."""
    return written(tmp_path_factory.mktemp("run"), drill())


@pytest.fixture
def page(browser: Browser, index: Path) -> Page:
    """The page, opened at the width of a desktop."""
    page = browser.page()
    sized(page, 1400, 1000)
    page.open(index)
    page.wait("document.documentElement.dataset.drawn")
    return page


def sized(page: Page, width: int, height: int) -> None:
    """A window of this size."""
    page.do(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
    )


def place(page: Page, lane: str, seconds: float) -> tuple[float, float]:
    """Where a moment of a lane is on the screen."""
    page.ask("document.getElementById('lanes').scrollIntoView({block: 'start'})")
    box, view = page.ask(BOX), page.ask(VIEW)
    row = page.ask(
        f"[...document.querySelectorAll('.lanes .names div')].find(d => d.title === {json.dumps(lane)})"
        ".getBoundingClientRect().toJSON()"
    )
    x = box["left"] + (seconds - view[0]) / (view[1] - view[0]) * box["width"]
    return x, row["top"] + row["height"] / 2


def moment(page: Page, kind: str, **fields: object) -> float:
    """When something happened, in seconds from the fault, by the timeline of `drill`."""
    event = drill().timeline().first(kind, **fields)
    assert event is not None
    return (event.t - ns(2.03)) / 1e9


class TestLanes:
    def test_every_lane_is_drawn_with_its_stretches(self, page: Page) -> None:
        lanes = page.ask("[...document.querySelectorAll('g.lane')].map(g => g.dataset.name)")
        assert {f"{VIP} owner", f"{VIP} gratuitous ARP", "lb1", "lb2", "cl", "clx"} <= set(lanes)
        drawn = page.ask(
            "[...document.querySelectorAll('g.lane')].map(g => "
            "g.querySelectorAll('rect.stretch').length + g.querySelectorAll('path.moments').length)"
        )
        assert all(count > 0 for count in drawn), list(zip(lanes, drawn, strict=True))
        assert page.ask("document.querySelectorAll('.band').length") >= 1
        assert page.ask("document.querySelectorAll('path.promise').length") >= 3

    def test_a_stretch_lies_where_its_times_say(self, page: Page) -> None:
        box, view = page.ask(BOX), page.ask(VIEW)
        rect = page.ask(
            f"document.querySelector('g.lane[data-name=\"{VIP} owner\"] rect.n1')"
            ".getBoundingClientRect().toJSON()"
        )
        begins = view[0] + (rect["left"] - box["left"]) / box["width"] * (view[1] - view[0])
        assert begins == pytest.approx(0.33484375, abs=0.005)

    def test_nothing_complains_and_nothing_is_asked_of_a_network(self, page: Page, index: Path) -> None:
        assert page.errors == []
        assert [url for url in page.requests if not url.startswith("data:")] in (
            [index.as_uri()],
            ["about:blank", index.as_uri()],
        )

    def test_plots_have_ink(self, page: Page) -> None:
        for panel in ("latency", "requests"):
            inked = page.ask(
                f"(() => {{ const c = document.querySelector('#{panel} canvas'); const d = c.getContext('2d')"
                ".getImageData(0, 0, c.width, c.height).data; let n = 0;"
                "for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; })()"
            )
            assert inked > 3000


class TestZoom:
    def test_a_view_is_chosen_by_its_button(self, page: Page) -> None:
        before = page.ask(VIEW)
        page.ask(
            "[...document.querySelectorAll('#views button')].find(b => b.textContent === 'fault').click()"
        )
        view = page.ask(VIEW)
        assert before[0] < view[0] < 0 < view[1] < before[1]

    def test_dragging_zooms_into_the_stretch_and_a_double_click_shows_all(self, page: Page) -> None:
        x, y = place(page, "cl", 0.0)
        to_x, _ = place(page, "cl", 0.4)
        page.mouse("mouseMoved", x, y)
        page.mouse("mousePressed", x, y)
        page.do(
            "Input.dispatchMouseEvent", type="mouseMoved", x=(x + to_x) / 2, y=y, button="left", buttons=1
        )
        page.do("Input.dispatchMouseEvent", type="mouseMoved", x=to_x, y=y, button="left", buttons=1)
        page.mouse("mouseReleased", to_x, y)
        view = page.ask(VIEW)
        assert view == pytest.approx([0.0, 0.4], abs=0.02)
        page.click(x + 200, y, 2)
        view = page.ask(VIEW)
        assert view[0] <= -2.0
        assert view[1] >= 5.4

    def test_the_keyboard_zooms_as_well(self, page: Page) -> None:
        before = page.ask(VIEW)
        page.ask("document.getElementById('lanes').focus()")
        page.do("Input.dispatchKeyEvent", type="keyDown", key="+", text="+")
        view = page.ask(VIEW)
        assert view[1] - view[0] == pytest.approx((before[1] - before[0]) / 2, rel=0.01)


class TestEvents:
    def test_an_advert_tells_itself_and_its_packet(self, page: Page, index: Path) -> None:
        first = moment(page, "vrrp", node="lb2")
        x, y = place(page, "lb2", first)
        page.do("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        tip = page.ask("document.getElementById('tip').hidden || document.getElementById('tip').textContent")
        assert "advert: VRID 51, priority 90" in tip
        page.click(x, y)
        pinned = page.ask("document.getElementById('pinned').textContent")
        timeline = Timeline.load(index.parent / "timeline.jsonl")
        events = sorted(
            [*timeline.of("vrrp", "arp"), *timeline.of("probe", client="cl", stream="new")],
            key=lambda e: e.t + 50_000 * (e.kind == "probe"),
        )
        number = events.index(next(e for e in events if e.kind == "vrrp" and e.node == "lb2")) + 1
        assert f"wireshark -g {number} captures/front.pcapng" in pinned
        assert page.ask("location.hash") == f"#packet=front/{number}"

    def test_a_lost_attempt_leads_to_its_syn(self, page: Page) -> None:
        lost = moment(page, "probe", client="cl", stream="new", result="timeout")
        x, y = place(page, "cl", lost)
        page.click(x, y)
        pinned = page.ask("document.getElementById('pinned').textContent")
        assert "lost: timeout" in pinned
        assert "wireshark -g" in pinned

    def test_a_line_of_the_story_leads_to_its_place_in_the_lanes(self, page: Page) -> None:
        place_of = (
            "[...document.querySelectorAll('.story .packet a')]"
            ".find(a => a.closest('tr').innerText.includes('announces'))"
        )
        wanted = page.ask(f"{place_of}.getAttribute('href')")
        page.ask(f"{place_of}.click()")
        page.wait("!document.getElementById('pinned').hidden")
        assert page.ask("location.hash") == wanted
        view = page.ask(VIEW)
        assert view[1] - view[0] <= 1.0
        assert page.errors == []

    def test_an_address_with_a_packet_opens_there(self, browser: Browser, index: Path) -> None:
        page = browser.page()
        page.open(index, "#packet=front/20")
        page.wait("document.documentElement.dataset.drawn")
        assert "packet 20 of front" in page.ask("document.getElementById('pinned').textContent")
        page.wait("document.getElementById('lanes-section').getBoundingClientRect().top < innerHeight / 2")

    def test_links_of_the_folder_lead_to_files(self, page: Page, index: Path) -> None:
        links = page.ask("[...document.querySelectorAll('.files a')].map(a => a.getAttribute('href'))")
        assert {"result.json", "timeline.jsonl", "trace.json", "captures/front.pcapng"} <= set(links)
        assert all((index.parent / link).is_file() for link in links)


class TestLooks:
    def test_on_a_phone_nothing_hangs_over_the_edge(self, browser: Browser, index: Path) -> None:
        page = browser.page()
        sized(page, 390, 800)
        page.open(index)
        page.wait("document.documentElement.dataset.drawn")
        assert page.ask("document.documentElement.scrollWidth") <= 390
        assert page.ask("document.querySelector('#lanes .u-over').clientWidth") > 250
        assert page.errors == []

    def test_dark_is_dark_and_its_plots_are_drawn_anew(self, page: Page) -> None:
        luminance = (
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
            ".reduce((a, b) => a + b)"
        )
        ink = "document.querySelector('#latency canvas').toDataURL()"
        light, plotted = page.ask(luminance), page.ask(ink)
        page.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        page.wait(f"{luminance} < 150")
        page.wait(f"{ink} !== {json.dumps(plotted)}")
        assert light > 600

    def test_it_prints(self, page: Page) -> None:
        pdf = base64.b64decode(page.do("Page.printToPDF", printBackground=True)["data"])
        assert pdf.startswith(b"%PDF")
        assert len(pdf) > 20_000
        assert page.errors == []


class TestOtherPages:
    def test_two_runs_stand_on_one_axis(self, browser: Browser, index: Path, tmp_path: Path) -> None:
        late = written(tmp_path / "late", drill(0.5))
        path = tmp_path / "comparison.html"
        write_comparison(path, analyze(index.parent), analyze(late.parent))
        page = browser.page()
        page.open(path)
        page.wait("document.documentElement.dataset.drawn")
        lanes = page.ask("[...document.querySelectorAll('g.lane')].map(g => g.dataset.name)")
        assert {f"A: {VIP} owner", f"B: {VIP} owner", "A: cl", "B: cl"} <= set(lanes)
        missed = "document.querySelector('g.lane[data-name=\"{}: cl\"] .missed')"
        assert page.ask(f"!{missed.format('A')} && !!{missed.format('B')}")
        assert page.errors == []

    def test_the_matrix_leads_to_the_drills_and_finds_them_by_words(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        matrix = Matrix()
        for name, lab in (("good", drill()), ("late", drill(0.5))):
            written(tmp_path / name, lab)
            for cell in cells(*judged(lab), {}, f"test_{name}", name):
                matrix.add(cell)
        write_suite(tmp_path, matrix)
        page = browser.page()
        page.open(tmp_path / "index.html")
        anchors = "[...document.querySelectorAll('.matrix a, #drills a')]"
        links = page.ask(f"{anchors}.map(a => a.getAttribute('href'))")
        assert set(links) == {"good/index.html", "late/index.html"}
        rows = "[...document.querySelectorAll('#drills tbody tr')]"
        shown = f"{rows}.filter(r => !r.hidden).map(r => r.innerText)"
        assert len(page.ask(shown)) == 2
        page.ask("(() => { const f = document.getElementById('filter'); f.value = 'fail'; f.oninput(); })()")
        assert ["late" in text for text in page.ask(shown)] == [True]
        assert page.errors == []


class TestHostility:
    def test_what_the_timeline_holds_is_text_and_nothing_else(self, browser: Browser, tmp_path: Path) -> None:
        lab, evil = drill(), "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
        lab.add(3.0, "note", text=evil)
        for event in lab.events:
            if event.kind == "probe" and event.client == "clx":
                event.data["client"] = evil
            if event.kind == "fault":
                event.data["detail"] = evil
        page = browser.page()
        page.open(written(tmp_path / "run", lab))
        page.wait("document.documentElement.dataset.drawn")
        assert "owned" not in page.ask("document.title")
        assert page.ask("document.querySelectorAll('img').length") == 0
        assert page.errors == []

    @pytest.mark.parametrize(
        ("sabotage", "said"),
        [
            ("<script>nonsense()</script>", "nonsense is not defined"),
            ('<img src="http://192.0.2.1/x.png">', "Content Security Policy"),
        ],
    )
    def test_a_page_that_fails_or_asks_a_network_would_be_caught(
        self, browser: Browser, index: Path, tmp_path: Path, sabotage: str, said: str
    ) -> None:
        broken = tmp_path / "index.html"
        text = index.read_text(encoding="utf-8")
        broken.write_text(text.replace("</body>", f"{sabotage}</body>"), encoding="utf-8")
        page = browser.page()
        page.open(broken)
        page.wait("document.documentElement.dataset.drawn")
        assert any(said in error for error in page.errors)
