"""A page taken apart as a browser would, for tests of the report."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br"}
REFERENCES = {"src", "href", "xlink:href", "action", "data", "poster", "srcset", "formaction"}


class Page(HTMLParser):
    """A parsed page: what is in it, and what it asks for.

    Attributes:
        tags: every element's name and attributes.
        text: all that is read, outside of style.
        asks_for: values of attributes that name something to fetch.
        tables: every table as lists of cells.
    """

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.asks_for, self.tables = [], [], []
        self._words, self._open = [], []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    @property
    def text(self):
        return " ".join(self._words)

    def named(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]

    def classes(self, name):
        return [a for _, a in self.tags if name in (a.get("class") or "").split()]

    def table(self, heading):
        """The table with this heading: its rows, a dictionary each."""
        (found,) = [table for table in self.tables if heading in table[0]]
        return [dict(zip(found[0], row, strict=True)) for row in found[1:]]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.asks_for += [value for key, value in attributes if key in REFERENCES]
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if "style" in self._open:
            return
        self._words.append(data)
        if {"td", "th"} & set(self._open) and "title" not in self._open:
            self.tables[-1][-1][-1] += data
