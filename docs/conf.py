"""How Sphinx builds these pages: Markdown by MyST, offline, warnings as errors (``nox -s docs``)."""

project = "asiarc"
copyright = "the asiarc authors"  # noqa: A001  (Sphinx's own name)
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "asiarc"
html_show_sourcelink = False
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing_file"]  # links to files of the checkout, which are no pages
nitpicky = True
