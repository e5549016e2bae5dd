"""The HTML report: sections of text, figures and tables in one self-contained file."""

from poreforge.report.page import Figure, Section, Table, number, write_report

__all__ = ["Figure", "Section", "Table", "number", "write_report"]
