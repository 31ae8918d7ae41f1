project = "isles"
author = "the isles authors"
release = "0.1.0"

extensions = ["myst_parser"]
html_theme = "furo"
html_title = "isles"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
