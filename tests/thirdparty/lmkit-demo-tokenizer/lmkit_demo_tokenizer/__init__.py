"""The plugin: one tokenizer, described without importing numpy."""

from lmkit import TokenizerSpec, hookimpl


@hookimpl
def lmkit_tokenizers() -> list[TokenizerSpec]:
    return [
        TokenizerSpec(
            name="lowercase-letters",
            target="lmkit_demo_tokenizer.letters:LowercaseLetters",
            summary="The letters a to z and the space; all else is unknown",
        )
    ]
