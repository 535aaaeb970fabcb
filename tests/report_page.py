"""The page of a report, read back."""

from html.parser import HTMLParser

from landscape import report
from landscape.report import figures

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects what the tests ask for."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words, self.told = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
            self.told.append([tag, ""])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.told:
            self.told[-1][1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def texts(self, tag):
        """What directly follows each opening of a tag."""
        return [text.strip() for name, text in self.told if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def without_drawing(patch) -> None:
    """What is drawn takes a second a page, and most tests are of its words."""
    for name in ("compare", "compare_blocks", "compare_neurons", "compare_training"):
        patch.setattr(figures, name, lambda *_, **__: None)
    patch.setattr(figures, "_svg", lambda _: ("data:,", 7.0))


def page(runs, tmp_path, **options) -> Page:
    return Page(report.write(runs, tmp_path / "report.html", **options).read_text("utf-8"))
