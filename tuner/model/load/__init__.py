"""`tuner model load`: requests at a rate to a server of the KServe v2 protocol, and what became of them.

`http` is a client that many requests share, `target` makes requests and knows right answers. `arrivals` sends
them when they are due. `chart` draws latency over the rate.
"""
