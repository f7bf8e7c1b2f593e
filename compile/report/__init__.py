"""The report of one run: report.json, its page and model cards, made from values that others measured."""
