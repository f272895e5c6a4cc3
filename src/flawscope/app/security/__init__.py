"""Who may do what: names, passwords, sessions, tokens, and what every request and answer must carry."""
