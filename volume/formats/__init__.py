"""One module per file format; adding a format is adding a module here and its name to ``registry.FORMATS``."""

__all__: list[str] = []
