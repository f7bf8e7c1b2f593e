"""A summary as HTML, Markdown, CSV and figures. Adds no number of its own."""
