"""The section that needs pictures: ranked lists."""

import base64
import io

import numpy as np
from PIL import Image

from fedklpr_flwr.report.page.markup import Markup, element
from fedklpr_flwr.report.page.sections import nothing, section
from fedklpr_flwr.report.ranked_lists import Found, RankedList, RankedQuery
from fedklpr_flwr.report.site_inspection import Seen, SiteSeen

_QUALITY = 82


def ranked_section(seen: Seen) -> Markup:
    """Queries with their nearest gallery pictures, site by site."""
    title = "Ranked lists"
    if not seen.sites or not seen.shows_people:
        reasons = list(dict.fromkeys([seen.why, *(one.why for one in seen.sites)]))
        why = " ".join(reason for reason in reasons if reason) or "No pictures were looked at."
        return nothing(title, why, wide=True)
    said = (
        "What each site's own model finds nearest to a query, the nearest first, before training "
        "and after the last merge. A tick and a full green frame: the same person. A cross and a "
        "dashed red frame: somebody else. Pictures of the query's person by the query's own camera "
        "are left out, as in the scores. Below each stand its camera and its cosine to the query."
    )
    if seen.unproven:
        said += f" {seen.unproven}"
    return section(title, said, *(_site(one) for one in seen.sites), wide=True)


def _site(site: SiteSeen) -> Markup:
    if not site.queries:
        return element("div", element("h3", site.name), element("p", site.why, class_="empty"))
    # A run that was cut off may have merged a round more than run.jsonl tells of.
    after = f"after round {site.round}" if site.round else "the initial model"
    return element("div", element("h3", site.name), *(_query(one, after) for one in site.queries))


def _query(query: RankedQuery, after: str) -> Markup:
    asked = element(
        "figure",
        _picture(query.pixels, "query"),
        element("figcaption", f"camera {query.camera}"),
    )
    before = _list("before training", query.before) if query.before else None
    lists = (before, _list(after, query.after))
    return element(
        "div",
        element("div", element("p", "query", class_="small"), asked, class_="asked"),
        element("div", *lists),
        class_="query",
    )


def _list(moment: str, ranked: RankedList) -> Markup:
    place = (
        f"first right picture at place {ranked.first_right} of {ranked.searched}"
        if ranked.first_right
        else f"no right picture among {ranked.searched}"
    )
    said = element("p", element("b", moment), f": {place}", class_="small")
    return element("div", said, *(_found(one) for one in ranked.found), class_="list")


def _found(one: Found) -> Markup:
    verdict = "same person" if one.right else "somebody else"
    return element(
        "figure",
        _picture(one.pixels, verdict),
        element("span", "✓" if one.right else "✗", class_="badge", title=verdict),
        element("figcaption", f"c{one.camera} · {one.similarity:.2f}"),
        class_="right" if one.right else "wrong",
    )


def _picture(pixels: np.ndarray, said: str) -> Markup:
    """A picture within the page, as JPEG."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="JPEG", quality=_QUALITY)
    data = base64.b64encode(content.getvalue()).decode("ascii")
    return element("img", src=f"data:image/jpeg;base64,{data}", alt=said)
