import io
import sys

from lib import progress as module
from lib.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_items_pass_through_in_silence(capsys):
    assert list(progress(range(3), "working")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_line_is_wiped(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", -1.0)
    monkeypatch.setattr(module, "EVERY", -1.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress(iter([1, 2]), "working", total=2)) == [1, 2]
    assert "working: 2 of 2" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\033[K")


def test_a_page_keeps_no_trace(monkeypatch):
    shown = []

    class Handle:
        def update(self, content):
            shown.append(content.data)

    monkeypatch.setattr(module, "PATIENCE", -1.0)
    monkeypatch.setattr(module, "EVERY", -1.0)
    monkeypatch.setattr(module, "in_kernel", lambda: True)
    monkeypatch.setattr("IPython.display.display", lambda content, display_id: shown.append(content.data) or Handle())
    list(progress([1, 2, 3], "noise <i>"))
    assert "noise &lt;i&gt;: 1 of 3" in shown[0]
    assert shown[-1] == ""
