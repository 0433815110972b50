"""Several runs side by side: statistics, tables, figures, reports."""

from metarl.study.report import Study, compare_runs

__all__ = ["Study", "compare_runs"]
