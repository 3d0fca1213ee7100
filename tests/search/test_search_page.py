"""Claims about the search page in a real browser: drop, choose or paste a picture, by any hand."""

import base64
import threading

import pytest
from browser import chromium
from galleries import small_model, write_figure, write_gallery

from fedklpr_flwr.search.gallery import open_gallery
from fedklpr_flwr.search.serving import open_page

pytestmark = pytest.mark.slow

DROP = """([data, name, event]) => {
  const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0));
  const files = new DataTransfer();
  if (name) files.items.add(new File([bytes], name));
  const told = event === "paste" ? { clipboardData: files } : { dataTransfer: files };
  const kind = event === "paste" ? ClipboardEvent : DragEvent;
  document.dispatchEvent(new kind(event, { bubbles: true, cancelable: true, ...told }));
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A search page over twelve pictures, one of a camera whose name is markup."""
    root = write_gallery(tmp_path_factory.mktemp("page") / "gallery", persons=6)
    write_figure(root / "<b>cam & 1" / "7.png", 7)
    model = small_model()
    page = open_page(model, open_gallery(model, root, None), 0)
    thread = threading.Thread(target=page.run, daemon=True)
    thread.start()
    yield page, root
    page.stop()
    thread.join(timeout=20)


@pytest.fixture
def tab(browser, served):
    """An open page, and every address that it asked for; no script may fail on it."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    tab = context.new_page()
    tab.asked, tab.faults = [], []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.on("pageerror", lambda error: tab.faults.append(str(error)))
    tab.on(
        "console",
        lambda said: tab.faults.append(said.text) if "Content Security" in said.text else 0,
    )
    tab.goto(served[0].address)
    yield tab
    assert tab.faults == []
    foreign = [
        url for url in tab.asked if not url.startswith((served[0].address, "data:", "blob:"))
    ]
    assert foreign == []
    context.close()


def dropped(tab, data, name, event="drop"):
    tab.evaluate(DROP, [base64.b64encode(data).decode(), name, event])


def until(tab, holds):
    """Wait until an expression holds; the driver's own waiting would need eval in the page."""
    for _ in range(200):
        if tab.evaluate(holds):
            return
        tab.wait_for_timeout(50)
    pytest.fail(f"after ten seconds not yet: {holds}")


def found(tab):
    """The cards as they are read, once all ten pictures are shown."""
    until(
        tab, "[...document.querySelectorAll('#found img')].filter(i => i.naturalWidth).length == 10"
    )
    return tab.locator("#found li").all_inner_texts()


def test_before_a_search_the_page_says_what_to_do(tab):
    assert tab.locator("#none").inner_text().startswith("Nobody is looked for yet")
    assert "Drop a picture of one person here" in tab.locator("#drop").inner_text()
    assert tab.locator("#error").is_hidden()


def test_a_chosen_file_shows_the_nearest_ten_with_camera_and_score(tab, served):
    tab.set_input_files("#file", served[1] / "west" / "3.png")
    cards = found(tab)
    assert len(cards) == 10
    assert cards[0].split("\n")[:2] == ["1", "1.000"]
    assert "camera west" in cards[0]
    assert "west/3.png" in cards[0]
    assert tab.locator("#status").inner_text() == "10 nearest of 13 pictures"
    assert tab.locator("#none").is_hidden()
    assert tab.evaluate("document.getElementById('shown').naturalWidth") == 16


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_a_dropped_or_pasted_picture_is_searched_for(event, tab, served):
    dropped(tab, (served[1] / "east" / "4.png").read_bytes(), "who.png", event)
    assert "east/4.png" in found(tab)[0]
    assert tab.locator("#name").inner_text() == "who.png"


def test_names_are_shown_as_they_are_and_never_as_markup(tab, served):
    dropped(tab, (served[1] / "<b>cam & 1" / "7.png").read_bytes(), "<img src=x>.png")
    assert "camera <b>cam & 1" in found(tab)[0]
    assert tab.locator("#name").inner_text() == "<img src=x>.png"
    assert tab.locator("#found figcaption b").count() == 10


def test_what_is_no_picture_is_told_and_the_next_search_clears_it(tab, served):
    dropped(tab, b"no picture", "notes.txt")
    tab.wait_for_selector("#error:not([hidden])")
    assert "no picture of a known format" in tab.locator("#error").inner_text()
    assert tab.locator("#found li").count() == 0
    dropped(tab, b"", None)
    assert "That was no file" in tab.locator("#error").inner_text()
    dropped(tab, b"x" * 20_000_001, "large.png")
    until(tab, "document.getElementById('error').textContent.includes('larger than 20')")
    tab.set_input_files("#file", served[1] / "east" / "0.png")
    assert len(found(tab)) == 10
    assert tab.locator("#error").is_hidden()


def test_the_keyboard_alone_can_choose_a_file(tab, served):
    choosers = []
    tab.on("filechooser", lambda one: choosers.append(one))  # a dialog before it is lost
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "file"
    assert tab.evaluate("getComputedStyle(document.getElementById('drop')).outlineStyle") == "solid"
    tab.keyboard.press("Enter")
    for _ in range(200):
        tab.wait_for_timeout(50)
        if choosers:
            break
    choosers[0].set_files(served[1] / "east" / "5.png")
    assert "east/5.png" in found(tab)[0]


def test_a_search_that_ended_says_so(tab, served):
    tab.route("**/search", lambda route: route.abort())
    tab.set_input_files("#file", served[1] / "east" / "5.png")
    tab.wait_for_selector("#error:not([hidden])")
    assert "is fedklpr search still running?" in tab.locator("#error").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 800, 1200])
def test_nothing_is_cut_off_and_words_can_be_read(scheme, width, tab, served):
    tab.emulate_media(color_scheme=scheme)
    tab.set_viewport_size({"width": width, "height": 800})
    tab.set_input_files("#file", served[1] / "east" / "5.png")
    found(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(CONTRAST) >= 4.5


CONTRAST = """() => {
  const bright = words => {
    const [r, g, b] = words.match(/[\\d.]+/g).slice(0, 3).map(one => {
      const share = one / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = one => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!colour.startsWith("rgba(0, 0, 0, 0")) return bright(colour);
    }
    return 1;
  };
  const ratios = [];
  for (const one of document.querySelectorAll("h1,h2,p,b,span,figcaption")) {
    if (!one.innerText || !one.getClientRects().length) continue;
    const [low, high] = [bright(getComputedStyle(one).color), behind(one)].sort((a, b) => a - b);
    ratios.push((high + 0.05) / (low + 0.05));
  }
  return Math.min(...ratios);
}"""
