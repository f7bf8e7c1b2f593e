"""Progress and notes in the terminal or a log; nothing here decides what is computed."""
