"""The ``poreforge`` command and the workflows that join the layers."""
