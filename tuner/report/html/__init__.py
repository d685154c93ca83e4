"""Pages: self-contained HTML files, and the parts that `tuner serve` makes its pages of.

`shell` renders a template into a page; `static` holds its style sheet and scripts, `templates` its HTML.
`table_data` makes the rows of a sortable table, `charts` Vega-Lite specifications, `vega` draws the same
specifications into files with no browser. `report` is the page of what `subject` finds in the store.
"""
