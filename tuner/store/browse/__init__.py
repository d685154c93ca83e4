"""Questions of people who look around in a database: cut to a page, whatever the number of trials."""
