"""The limits of a server, so that no request can take more than its share."""

from dataclasses import dataclass

BODY = 1 << 24
"""Bytes of a request."""
BODY_SECONDS = 60.0
"""Time for a client to send a request's body."""
PROMPTS = 2048
"""Texts of one request."""
CHOICES = 128
"""Largest `n`."""
LOGPROBS = 100
"""Largest `logprobs`."""
STOPS = 32
LONGEST_STOP = 1000
CHARACTERS = 16
"""Characters of a text for each token that it may have: it is not even tokenized if it is longer."""
MOST_NEXT = 1000
"""Largest `k` of /next."""


@dataclass(frozen=True)
class Limits:
    """What the command's options set.

    max_queue: continuations and questions waiting or in work. max_tokens: of a continuation. max_prompt: tokens of a
    text. timeout: seconds of a request.
    """

    max_queue: int = 1024
    max_tokens: int = 4096
    max_prompt: int = 16384
    timeout: float = 300.0
