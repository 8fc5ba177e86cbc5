"""Reports: tables in the terminal and in files, figures, timelines.

`figures` is the only module that imports Matplotlib; import it where figures are drawn, not here.
"""

from pimsim.report.report import Report, report_text
from pimsim.report.tables import frame_text, print_checks, print_frame
from pimsim.report.timeline import write_perfetto

__all__ = ["Report", "frame_text", "print_checks", "print_frame", "report_text", "write_perfetto"]
