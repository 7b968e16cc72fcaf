"""The two themes of our own: ink on warm paper, and the same room at night. Both are calm, so that the story stands out."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="tinytales-dark",
    primary="#d9a766",
    secondary="#8fa8a3",
    accent="#f0c488",
    warning="#e0b15c",
    error="#d9776b",
    success="#9db67c",
    foreground="#e9e2d6",
    background="#191816",
    surface="#211f1c",
    panel="#2a2723",
    dark=True,
    luminosity_spread=0.12,
    variables={
        "footer-background": "#211f1c",
        "footer-key-foreground": "#d9a766",
        "footer-description-foreground": "#b3aa9b",
        "footer-item-background": "#211f1c",
        "input-selection-background": "#d9a766 35%",
        "block-cursor-background": "#d9a766",
        "block-cursor-foreground": "#191816",
        "block-cursor-text-style": "none",
        "input-cursor-background": "#e9e2d6",
        "input-cursor-foreground": "#191816",
        "scrollbar": "#3a352f",
        "scrollbar-hover": "#4d463d",
        "scrollbar-active": "#d9a766",
        "scrollbar-background": "#191816",
        "scrollbar-background-hover": "#191816",
        "scrollbar-background-active": "#191816",
        "border": "#d9a766",
    },
)

LIGHT = Theme(
    name="tinytales-light",
    primary="#96591a",
    secondary="#4a6b66",
    accent="#7d4409",
    warning="#8a6212",
    error="#a83a2d",
    success="#52702f",
    foreground="#2e2a25",
    background="#fbf7f0",
    surface="#f3ede2",
    panel="#eae2d4",
    dark=False,
    luminosity_spread=0.12,
    variables={
        "footer-background": "#f3ede2",
        "footer-key-foreground": "#96591a",
        "footer-description-foreground": "#5f574b",
        "footer-item-background": "#f3ede2",
        "input-selection-background": "#96591a 30%",
        "block-cursor-background": "#96591a",
        "block-cursor-foreground": "#fbf7f0",
        "block-cursor-text-style": "none",
        "input-cursor-background": "#2e2a25",
        "input-cursor-foreground": "#fbf7f0",
        "scrollbar": "#d8cebc",
        "scrollbar-hover": "#c6b99f",
        "scrollbar-active": "#96591a",
        "scrollbar-background": "#fbf7f0",
        "scrollbar-background-hover": "#fbf7f0",
        "scrollbar-background-active": "#fbf7f0",
        "border": "#96591a",
    },
)

THEMES = (DARK, LIGHT)
