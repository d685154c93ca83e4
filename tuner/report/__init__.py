"""Tables and pictures of what the store holds.

`present` prints and writes all of a campaign; `campaign_view` and `comparison` read it from the store.
`records_json` is the one place that turns records into JSON. `roofline`, `curves`, `bars` and `network_chart`
draw.
"""
