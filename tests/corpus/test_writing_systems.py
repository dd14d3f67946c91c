"""Which texts have their words separated by spaces, so that `train` takes words or characters."""

import pytest

from lmkit.corpus.distances import DistanceText
from lmkit.corpus.writing_systems import ScriptCounter

TEXTS = {
    "the broken phone has to be repaired": (True, True),
    "今天天气很好，我去打球，不小心把手机摔坏了。": (False, False),
    "今天 天气 很 好 ， 我 去 打球 ， 不小心 把 手机 摔坏 了 。": (False, True),
    "中文 very few 字 among a great many more English words and letters": (True, True),
    "今天 天气 很 好，我 去 打球，不小心 把 手机 摔坏 了。": (False, True),
    "好的。谢谢。你呢？": (False, False),
    "手机": (False, True),
    "吾輩 は 猫 で ある 。 名前 は まだ 無い 。": (False, True),
    "吾輩は猫である。名前はまだ無い。": (False, False),
    "วันนี้ อากาศ ดี มาก ฉัน ไป เล่น บอล": (False, True),
    "วันนี้อากาศดีมาก ฉันไปเล่นบอล": (False, False),
    "": (True, True),
}


@pytest.mark.parametrize("text", TEXTS)
def test_words_between_spaces(text: str) -> None:
    """Segmented Chinese has words to train on, though scores go on to count its characters."""
    counter = ScriptCounter()
    counter.add(text)
    assert (counter.words_are_spaced, counter.is_segmented) == TEXTS[text]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_distance_task_has_words(language: str) -> None:
    """`lmkit train distances:zh` reads the words that the task counts its distances in."""
    counter = ScriptCounter()
    for line, *_ in DistanceText(language, count=100):
        counter.add(line)
    assert counter.is_segmented
