"""Text for people: lines as wide as the terminal, words whole."""

from codec.bars import fitting
from codec.console import broken, clock


def test_lines_are_broken_between_words_and_go_on_indented() -> None:
    text = "v.nerv: 1,234 bytes\n  header 120, weights 800, /a/name/longer/than/a/line"
    assert broken(text, 20) == ("v.nerv: 1,234 bytes\n  header 120,\n    weights 800,\n    /a/name/longer/than/a/line")
    assert broken("four five six", 15, taken=7) == "four\n  five six"


def test_a_line_of_progress_keeps_what_tells_most() -> None:
    texts = ["encoding", "50%", "1:00 left", "31.20 dB", "~120 kB", "epoch 4/90"]
    assert fitting(texts, 80) == texts
    assert fitting(texts, 40) == texts[:5]
    assert fitting(texts, 13) == ["encoding", "50%"]


def test_clock() -> None:
    assert [clock(s) for s in (0.4, 59.6, 3599, 3600 * 27 + 61)] == ["0:00", "1:00", "59:59", "27:01:01"]
