"""The logging level of notes: information that needs no action."""

import logging

NOTE = 25
"""Between INFO (only shown with --verbose) and WARNING (needs attention): `log.log(NOTE, "...")`."""

logging.addLevelName(NOTE, "NOTE")
