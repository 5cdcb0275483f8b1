"""The page object, the contents, ledgers, the scoreboard, figures, widgets, and the command line."""
