"""The page's own look: system fonts (nothing is fetched), one accent colour, light and dark."""

import gradio as gr

_SANS = ("system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace")
_BLUE = gr.themes.Color(
    name="workbench",
    c50="#eff6fc", c100="#dcebf8", c200="#b9d7f0", c300="#8bbde5", c400="#559dd5", c500="#2f80c2",
    c600="#1f6fb2", c700="#185a93", c800="#164b78", c900="#143f63", c950="#0e2a43",
)  # fmt: skip


def make_theme() -> gr.themes.Base:
    """Return the theme; text on the accent colour keeps a contrast of at least 4.5."""
    theme = gr.themes.Base(
        primary_hue=_BLUE,
        secondary_hue=_BLUE,
        neutral_hue=gr.themes.colors.gray,
        font=list(_SANS),
        font_mono=list(_MONO),
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
    )
    return theme.set(
        body_background_fill="#f6f7f9",
        body_background_fill_dark="#131519",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1d2025",
        body_text_color_subdued="#565c66",
        body_text_color_subdued_dark="#a9b0ba",
        block_info_text_color="#565c66",
        block_info_text_color_dark="#a9b0ba",
        input_placeholder_color="#6b7280",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="#ffffff",
        block_label_text_color="#374151",
        block_label_text_color_dark="#d1d5db",
        block_title_text_weight="600",
        block_shadow="none",
    )
