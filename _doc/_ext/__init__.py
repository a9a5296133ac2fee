"""The site's own Sphinx extensions, one feature a module."""
