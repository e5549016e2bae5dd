"""Handing volumes and results on: ParaView, Avizo, CAD, PoreSpy, OpenPNM and spreadsheets."""

from poreforge.exports.tables import write_csv
from poreforge.exports.workflow import FORMATS, export, export_file

__all__ = ["FORMATS", "export", "export_file", "write_csv"]
