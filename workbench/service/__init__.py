"""What the browser page, the Space and the programming interface share; no Gradio in here."""
