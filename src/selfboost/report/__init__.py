"""One self-contained page of a run, finished or running: `write_report(folder)`."""

from selfboost.report.page import write_report

__all__ = ["write_report"]
