"""The encoding that is advised reads the text as it was; where that cannot be told, none is."""

import random
from pathlib import Path

import pytest

from lmkit.corpus.decoding import sample_of
from lmkit.corpus.encodings import guess_encoding
from lmkit.corpus.options import DataOptions
from lmkit.corpus.readers import Text
from lmkit.errors import DataError

WESTERN = ("latin-1", "windows-1252", "iso8859-15", "mac-roman")
CENTRAL = ("windows-1250", "iso8859-2")
TEXTS = {
    "Le garçon a perdu son chapeau à la gare.\nVoilà l'hôpital où mon frère aîné est né.\n": WESTERN,
    "Der Bäcker schließt um fünf Uhr.\nWir müssen die Tür öffnen.\n": WESTERN,
    "Mi tía vive en un pueblo pequeño.\n¿Dónde está la estación?\n": WESTERN,
    "Ayer llovió todo el día. ¡Qué tarde es!\n": ("latin-1", "windows-1252"),
    "Pigen gik over broen til København.\nVi køber mælk og brød på torvet.\n": WESTERN,
    "“Come in,” he said – “it’s cold,” and she came in.\n": ("windows-1252", "mac-roman"),
    "Dziewczyna poszła przez most do miasta.\nNie wiem, co się stało wczoraj.\n": CENTRAL,
    "Můj bratr bydlí v malém městě u Brna.\nNevím, co se stalo včera večer.\n": CENTRAL,
    "A könyv az ágy mellett van.\nTudsz nekem segíteni, kérlek? Az őszi eső.\n": CENTRAL,
    "Yarın yağmur yağacak ve çok soğuk olacak.\nBu kitap güzel bir kitap.\n": ("windows-1254", "iso8859-9"),
    "Мой брат живёт в маленьком городе.\nМы уже очень устали, поэтому идём спать.\n": (
        "windows-1251",
        "koi8-r",
        "iso8859-5",
        "cp866",
        "mac-cyrillic",
    ),
    "Ο αδελφός μου ζει σε μια μικρή πόλη.\nΔεν ξέρω τι έγινε χθες το βράδυ.\n": ("windows-1253", "iso8859-7"),
    "הילדה עברה את הגשר והלכה לעיר.\nמחר ירד גשם.\n": ("windows-1255", "iso8859-8"),
    "عبرت الفتاة الجسر وذهبت إلى المدينة.\nنحن متعبون جدا.\n": ("windows-1256", "iso8859-6"),
    "소녀는 다리를 건너 도시로 갔다.\n안녕하세요, 한국어 문장입니다.\n": ("euc-kr", "cp949"),
    "弟は小さな町に住んでいます。\n明日は雨が降るでしょう。\n": (
        "shift_jis",
        "cp932",
        "euc-jp",
        "iso2022_jp",
    ),
    "我不知道昨天晚上发生了什么事。\n你能帮我吗?\n": ("gb2312", "gbk", "gb18030"),
    "我不知道昨天晚上發生了什麼事。\n你能幫我嗎?\n": ("big5", "gbk", "gb18030"),
}
CASES = [
    (text, name)
    for text, names in TEXTS.items()
    for name in (*names, "utf-16", "utf-16-le", "utf-16-be", "utf-32")
]


@pytest.mark.parametrize(("text", "encoding"), CASES, ids=lambda value: value.split()[0])
def test_two_lines_are_enough(tmp_path: Path, text: str, encoding: str) -> None:
    """Two lines in any of these encodings are an error whose advice, followed, reads the very text."""
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DataError) as caught:
        list(Text([str(path)], DataOptions()))
    advice = str(caught.value).partition("--encoding ")[2].partition(",")[0]
    found = "".join(line.text + "\n" for line in Text([str(path)], DataOptions(encoding=advice)))
    assert found.removeprefix("\ufeff") == text


@pytest.mark.parametrize(("text", "encoding"), CASES, ids=lambda value: value.split()[0])
def test_advice_on_part_of_a_text_is_never_wrong(text: str, encoding: str) -> None:
    """Of single lines, of words and of ends of lines, the advice reads what was written, or there is none."""
    lines = text.splitlines()
    for part in (*lines, *text.split(), lines[0][-9:]):
        raw = f"{part}\n".encode(encoding)
        found = guess_encoding(raw)
        if found == "utf-8":
            continue  # read without an error, there is no advice
        assert found is None or raw.decode(found).lstrip("\ufeff") == part + "\n", (part, found)


def test_junk_is_in_no_encoding() -> None:
    """Bytes that are no text are not told to be some: random ones, compressed ones, a picture."""
    chance = random.Random(0)
    for size in (10, 100, 1000, 60_000):
        assert guess_encoding(chance.randbytes(size)) is None
        assert guess_encoding(bytes(chance.randrange(128, 256) for _ in range(size))) is None
    assert guess_encoding(b"\x89PNG\r\n\x1a\n" + chance.randbytes(500)) is None


def test_more_than_the_bad_line_is_looked_at(tmp_path: Path) -> None:
    """The line with the bad byte tells little; the lines after it say which of the languages it is."""
    path = tmp_path / "a.txt"
    czech = "č\n" + "plain\n" * 1000 + "Nevím, co se stalo včera večer.\nŘeka teče hluboko pod zemí.\n"
    path.write_bytes(czech.encode("windows-1250"))
    with pytest.raises(DataError, match=r"line 1 \(byte 0\).*--encoding windows-1250"):
        list(Text([str(path)], DataOptions()))


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    """A word that two encodings read as two words of two languages gets no advice."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"k\xf9\xf2\n")  # kůň in Central Europe, kùò in the west
    with pytest.raises(DataError, match=r"and its encoding cannot be detected; give it with --encoding"):
        list(Text([str(path)], DataOptions()))


def test_escaped_japanese_is_not_read_as_ascii(tmp_path: Path) -> None:
    """ISO-2022-JP is UTF-8 by its bytes; it is an error all the same, and its encoding is named."""
    path = tmp_path / "a.txt"
    path.write_bytes("plain\nこれは日本語の文章です。\n".encode("iso2022_jp"))
    with pytest.raises(DataError, match=r"line 2 \(byte 6\): an ISO-2022-JP escape.*--encoding iso2022_jp"):
        list(Text([str(path)], DataOptions()))
    assert [line.text for line in Text([str(path)], DataOptions(encoding="iso2022_jp"))][
        1
    ] == "これは日本語の文章です。"


def test_samples_are_lines_that_say_something() -> None:
    """The sample of a text has lines outside of ASCII, wherever they are; of UTF-16 it is the beginning."""
    assert sample_of([b"\xef\xbb\xbfplain\n" * 9, b"caf\xe9 ", b"noir\nplain\n"]).split(b"\n")[-2:] == [
        b"caf\xe9 noir",
        b"",
    ]
    wide = "text\n".encode("utf-16-le") * 5
    assert sample_of([wide]) == wide


@pytest.mark.parametrize(
    ("folder", "encodings"),
    [
        ("zh_stories_cmrc2019", ("gb18030", "utf-16-be")),
        ("zh_wiki", ("gb18030", "utf-16-le")),
        ("en_novels", ("windows-1252", "mac-roman")),
    ],
)
def test_real_text(shared: Path, folder: str, encodings: tuple[str, ...]) -> None:
    """The first 50,000 characters of corpora are told right."""
    files = [path for path in (shared / "data" / folder).glob("*.txt") if not path.name.startswith("LICEN")]
    if not files:
        pytest.skip(f"no {folder} in the shared folder")
    text = min(files).read_text("utf-8")[:50_000]
    for encoding in encodings:
        raw = text.encode(encoding, "ignore")
        if not raw.isascii():
            found = guess_encoding(sample_of([raw]))
            assert found is not None
            assert raw.decode(found) == raw.decode(encoding)
