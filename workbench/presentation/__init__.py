"""Tables, charts, drawings and pages: how anything is shown, whatever it is about."""
