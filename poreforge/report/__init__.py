"""The HTML report: sections of text, figures and tables in one self-contained file."""

from poreforge.report.page import Figure, Picture, Section, Table, View, number, write_report

__all__ = ["Figure", "Picture", "Section", "Table", "View", "number", "write_report"]
