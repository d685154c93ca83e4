"""The database in a browser, and a JSON API under it: `tuner serve`. It reads, and changes nothing.

`guard` decides which requests are answered, `database` opens what is read and notices what becomes of it,
`lists` cuts it to pages, `api` answers in JSON and `pages` in HTML, `feed` tells browsers of new trials,
`making` makes what takes seconds in processes of its own, `server` runs it all.
"""
