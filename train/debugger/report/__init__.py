"""The report of a training job: one page for people, one JSON file for programs."""

from train.debugger.report.page import HTML_NAME, JSON_NAME, report_job, write_debugger_report

__all__ = ["HTML_NAME", "JSON_NAME", "report_job", "write_debugger_report"]
