"""The report: HTML, Markdown and figures from what the archive holds."""
