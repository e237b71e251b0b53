"""A report as files: one HTML page that needs nothing else, Markdown, JSON and CSV. All are made of the same `Section`s: a number is
formatted once, beside the path in the result that it stands at."""
