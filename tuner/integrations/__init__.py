"""Drop-ins for what other tools' users have in their programs already; each folder is about one tool."""
