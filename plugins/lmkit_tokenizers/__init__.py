"""The built-in tokenizers: words, characters, bytes, sentencepiece's and Hugging Face's pieces, and jieba's words."""

from lmkit import TokenizerSpec, hookimpl
from lmkit_tokenizers.options import (
    CharOptions,
    HuggingFaceOptions,
    JiebaOptions,
    SentencePieceOptions,
    WordOptions,
)


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
        TokenizerSpec(
            name="jieba",
            target="lmkit_tokenizers.jieba_words:JiebaTokenizer",
            summary="Chinese words, which jieba finds in text without spaces (extra jieba)",
            options=JiebaOptions,
        ),
    ]
