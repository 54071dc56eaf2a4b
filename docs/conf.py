"""Configuration of the documentation: Markdown pages by MyST, no extensions of our own."""

project = "mace-smile"
author = "the mace-smile developers"
project_copyright = author

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
html_theme = "alabaster"
html_theme_options = {
    "description": "Charges, dipoles, Born effective charges and electric fields for MACE",
    "fixed_sidebar": True,
}
exclude_patterns = ["_build"]
