"""The terminal's own colours, so that everything is readable on light and dark ones."""

from dataclasses import replace

from textual.theme import BUILTIN_THEMES

_OWN = BUILTIN_THEMES["ansi-dark"]
THEME = replace(
    _OWN,
    name="terminal",
    variables=_OWN.variables
    | {
        "footer-key-foreground": "ansi_default",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        "input-cursor-text-style": "reverse",
    },
)

STYLE = """
#verdict, #rates, #tabs, #heading { height: 1; }
#title { height: auto; min-height: 1; max-height: 2; }
#verdict, #rates, #tabs, #title { text-wrap: nowrap; text-overflow: ellipsis; }
#states { height: auto; max-height: 3; }
#tabs { link-style: none; link-color: ansi_default; link-background: ansi_default; link-style-hover: reverse; }
#title { color: ansi_default; text-style: dim; }
Rows { height: 1fr; background: ansi_default; scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
Rows > .datatable--header { background: ansi_default; color: ansi_default; text-style: bold underline; }
Rows > .datatable--cursor { background: ansi_default; color: ansi_default; text-style: reverse; }
Rows:focus > .datatable--cursor { background: ansi_default; color: ansi_default; text-style: reverse; }
#filter { height: 1; border: none; padding: 0; background: ansi_default; display: none; }
Footer { background: ansi_default; }
"""
