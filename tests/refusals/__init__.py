"""Bad input over raw connections: the answer to the byte, the line in the log, the counter, nobody else the worse."""
