"""Bubbles of a flow-battery cell: one by one, in each half-cell, on the membrane."""

from evaluate.bubbles.cell_report import BubbleReport, BubbleSizes, HalfCell, bubble_report
from evaluate.bubbles.half_cells import electrode_sides

__all__ = ["BubbleReport", "BubbleSizes", "HalfCell", "bubble_report", "electrode_sides"]
