"""Options that several commands share, and the values they become; no command is defined here."""
