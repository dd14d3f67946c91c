"""The logging level of notes: what users may want to know, but need not act on."""

import logging

NOTE = 25
"""Between INFO, shown with --verbose alone, and WARNING, for what needs attention: `log.log(NOTE, "...")`."""

logging.addLevelName(NOTE, "NOTE")
