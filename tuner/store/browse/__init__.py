"""Questions of people who look around in a database: cut to a page, whatever the number of trials.

`catalogue` holds all sweeps in memory, `trial_list`, `final_list` and `campaign_list` are pages of the rest.
`curves` has what a sweep's picture needs, `news` what was stored since the last look.
"""
