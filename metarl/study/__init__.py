"""Several runs side by side: statistics, tables, figures, reports."""
