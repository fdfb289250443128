"""Job logs and folders as each earlier version of the schema left them, one JSON file for each; made by `record`."""
