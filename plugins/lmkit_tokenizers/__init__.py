"""The built-in tokenizers: words, characters, bytes, sentencepiece's pieces and Hugging Face's."""

from lmkit import TokenizerSpec, hookimpl
from lmkit_tokenizers.options import CharOptions, HuggingFaceOptions, SentencePieceOptions, WordOptions


@hookimpl
def lmkit_tokenizers() -> list[TokenizerSpec]:
    """Specs only; the tokenizers are imported when they are used."""
    return [
        TokenizerSpec(
            name="word",
            target="lmkit_tokenizers.word:WordTokenizer",
            summary="Words between white space, split as KenLM splits them",
            options=WordOptions,
        ),
        TokenizerSpec(
            name="char",
            target="lmkit_tokenizers.char:CharTokenizer",
            summary="Unicode characters",
            options=CharOptions,
        ),
        TokenizerSpec(
            name="byte",
            target="lmkit_tokenizers.byte:ByteTokenizer",
            summary="The 256 bytes of UTF-8, without unknown tokens",
        ),
        TokenizerSpec(
            name="sentencepiece",
            target="lmkit_tokenizers.pieces:SentencePieceTokenizer",
            summary="Subword pieces learned by sentencepiece (Kudo and Richardson, 2018)",
            options=SentencePieceOptions,
        ),
        TokenizerSpec(
            name="hf",
            target="lmkit_tokenizers.hugging_face:HuggingFaceTokenizer",
            summary="A tokenizer.json of Hugging Face's tokenizers, or byte-level BPE (extra tokenizers)",
            options=HuggingFaceOptions,
        ),
    ]
