"""The search page: a picture is dropped on it, and the nearest people are shown."""

from fedklpr_flwr.report.page.markup import Markup, element
from fedklpr_flwr.report.page.style import STYLE

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may fetch for the page: its own script and style, and the answers to a search."""

_KINDS = "JPEG, PNG, WebP, BMP, TIFF, GIF or PPM"


def search_page(title: str, what: str, most_megabytes: int) -> str:
    """The page as HTML.

    Args:
        title: the gallery's name.
        what: what is searched by which model, in words.
        most_megabytes: of a picture that is taken.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Search {title} · fedklpr"),
        Markup('<link rel="icon" href="data:,"><link rel="stylesheet" href="page.css">'),
        Markup('<script src="page.js" defer></script>'),
    )
    main = element(
        "main",
        element("h1", f"Search {title}"),
        element("p", what, class_="what"),
        element("div", _asked(most_megabytes), _answer(), class_="search"),
        element("p", _ALIKE, class_="small"),
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", main), lang="en") + "\n"


_ALIKE = (
    "A score is the cosine of two pictures' features: it says who looks alike, not who somebody "
    "is. Pictures stay on this machine; what is dropped here is not kept."
)


def _asked(most_megabytes: int) -> Markup:
    """The place to drop a picture on, which is a button too."""
    most = most_megabytes
    field = f'<input id="file" type="file" accept="image/*" class="unseen" data-most="{most}">'
    face = element(
        "span",
        Markup('<img id="shown" alt="" hidden>'),
        element(
            "span",
            element("b", "Drop a picture of one person here"),
            element("span", "or choose a file, or paste one", class_="said first"),
            element("span", f"{_KINDS}, up to {most_megabytes} MB", class_="said first"),
            element("span", "Drop, choose or paste another", class_="said another"),
            id="invitation",
        ),
    )
    drop = element("label", Markup(field), face, id="drop", for_="file")
    return element(
        "section",
        element("h2", "Who is looked for"),
        drop,
        element("p", id="name", class_="said"),
        class_="asked-for",
    )


def _answer() -> Markup:
    """The place where the nearest people appear."""
    none_yet = "Nobody is looked for yet. The ten nearest pictures will appear here."
    return element(
        "section",
        element("h2", "The nearest"),
        element("p", id="status", class_="said", role="status"),
        element("p", id="error", class_="note", role="alert", hidden="hidden"),
        element("p", none_yet, id="none", class_="empty"),
        element("ol", id="found"),
        element("noscript", element("p", "This page needs JavaScript.", class_="note")),
        class_="answer",
    )


CSS = (
    STYLE
    + """
.search{display:grid;grid-template-columns:minmax(220px,280px) 1fr;gap:16px;align-items:start}
.search section{margin:0}
.search+.small{margin-top:16px}
.unseen{position:absolute;width:1px;height:1px;opacity:0}
#drop{display:block;cursor:pointer;border:2px dashed var(--soft);border-radius:10px;
padding:22px 14px;text-align:center;margin-top:10px}
#drop:hover{border-color:var(--c1)}
#drop.over{border-style:solid;border-color:var(--c1);background:var(--note);color:var(--note-ink)}
#drop:focus-within{outline:3px solid var(--c1);outline-offset:3px}
#invitation,#invitation>*{display:block}
#invitation .said{margin:4px 0 0}
#shown{display:block;max-width:100%;height:260px;object-fit:contain;margin:0 auto 12px;
border-radius:6px}
#shown[hidden]{display:none}
#drop.chosen b,#drop.chosen .first,#drop:not(.chosen) .another{display:none}
#name{margin:10px 0 0;overflow-wrap:anywhere}
#status:empty,#name:empty{display:none}
#error{margin:8px 0 0}
#error:not([hidden])::before{content:"! ";font-weight:700}
#found{list-style:none;margin:10px 0 0;padding:0;display:grid;gap:14px 12px;
grid-template-columns:repeat(5,1fr)}
#found:empty{display:none}
#found li{min-width:0}
#found figure{margin:0;position:relative}
#found img,#found .gone{display:block;width:100%;aspect-ratio:1/2;object-fit:contain;
background:var(--rule);border-radius:6px}
#found .gone{display:grid;place-items:center;font-size:.8rem;color:var(--soft);text-align:center}
#found .place{position:absolute;top:0;left:0;min-width:24px;padding:0 5px;height:24px;
border-radius:6px 0 10px 0;background:var(--ink);color:var(--card);font-size:.85rem;
font-weight:700;line-height:24px;text-align:center}
#found figcaption{font-size:.84rem;line-height:1.35;margin-top:5px;overflow-wrap:anywhere}
#found b{font-variant-numeric:tabular-nums}
#found .rail{display:block;height:5px;border-radius:3px;background:var(--rule);margin:3px 0 4px}
#found .rail svg{display:block;height:5px}
#found .rail rect{fill:var(--c1)}
#found .said{margin:0;font-size:.78rem}
.busy #found{opacity:.35}
@media (max-width:900px){#found{grid-template-columns:repeat(4,1fr)}}
@media (max-width:720px){.search{grid-template-columns:1fr}
#shown{height:200px}}
@media (max-width:520px){#drop{padding:16px 10px}
#found{grid-template-columns:1fr}
#found figure{display:grid;grid-template-columns:76px 1fr;gap:12px;align-items:center}
#found figcaption{font-size:.92rem;margin:0}}
"""
)

SCRIPT = """
"use strict";
const at = id => document.getElementById(id);
const [drop, file, shown, none, found] = ["drop", "file", "shown", "none", "found"].map(at);
let turn = 0;

function made(tag, kind, text) {
  const one = document.createElement(tag);
  if (kind) one.className = kind;
  if (text) one.textContent = text;
  return one;
}

// A long name breaks behind what divides it, and elsewhere only where a part is too long.
function breaking(one, name) {
  for (const part of name.split(/(?<=[/_. -])/)) one.append(part, document.createElement("wbr"));
  return one;
}

function rail(score) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const bar = document.createElementNS(space, "rect");
  svg.setAttribute("width", "100%");
  svg.setAttribute("aria-hidden", "true");
  bar.setAttribute("width", Math.round(100 * Math.max(0, score)) + "%");
  bar.setAttribute("height", "5");
  bar.setAttribute("rx", "2.5");
  svg.append(bar);
  const box = made("span", "rail");
  box.append(svg);
  return box;
}

function card(one) {
  const named = /^cam/i.test(one.camera) ? one.camera : "camera " + one.camera;
  const camera = one.camera ? named : "camera unknown";
  const figure = made("figure");
  if (one.thumbnail) {
    const picture = made("img");
    picture.src = one.thumbnail;
    picture.alt = "number " + one.place + ", " + camera;
    figure.append(picture);
  } else {
    figure.append(made("span", "gone", "no longer there"));
  }
  const said = made("figcaption");
  said.append(made("b", "", one.score.toFixed(3)), rail(one.score), made("span", "", camera));
  if (one.person) said.append(made("br"), made("span", "", "person " + one.person));
  said.append(breaking(made("p", "said"), one.picture));
  figure.append(made("span", "place", String(one.place)), said);
  const item = made("li");
  item.append(figure);
  return item;
}

function tell(status, error) {
  at("status").textContent = status;
  at("error").textContent = error;
  at("error").hidden = !error;
}

function show(picture) {
  if (shown.src) URL.revokeObjectURL(shown.src);
  shown.src = URL.createObjectURL(picture);
  at("name").textContent = "";
  breaking(at("name"), picture.name || "a pasted picture");
}

function fail(why) {
  document.body.classList.remove("busy");
  found.replaceChildren();
  none.hidden = true;
  tell("", why);
}

async function search(picture) {
  const mine = ++turn;
  show(picture);
  const most = Number(file.dataset.most);
  if (picture.size > most * 1e6) return fail("That file is larger than " + most + " MB.");
  tell("Searching...", "");
  document.body.classList.add("busy");
  let answer;
  try {
    const reply = await fetch("search", {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body: picture,
    });
    answer = await reply.json();
  } catch {
    answer = { error: "The search does not answer: is fedklpr search still running?" };
  }
  if (mine !== turn) return;
  if (answer.error) return fail(answer.error);
  document.body.classList.remove("busy");
  found.replaceChildren(...answer.found.map(card));
  none.hidden = true;
  const searched = answer.searched.toLocaleString("en");
  tell(answer.found.length + " nearest of " + searched + " pictures", "");
}

shown.addEventListener("load", () => {
  shown.hidden = false;
  drop.classList.add("chosen");
});
shown.addEventListener("error", () => {
  shown.hidden = true;
  drop.classList.remove("chosen");
});
file.addEventListener("change", () => {
  if (file.files.length) search(file.files[0]);
  file.value = "";
});
document.addEventListener("dragover", event => {
  event.preventDefault();
  drop.classList.add("over");
});
document.addEventListener("dragleave", event => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", event => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) return search(event.dataTransfer.files[0]);
  tell("", "That was no file: drop a picture from this machine.");
});
document.addEventListener("paste", event => {
  if (event.clipboardData.files.length) search(event.clipboardData.files[0]);
});
"""
