"""Score how much a text looks like a language, by its frequent letters and words."""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

_WORD = re.compile(r"[^\W\d_]+")
_RARE_SHARE = 0.02
"""Share of letters in a long text that may be outside a language's alphabet, as in foreign names."""
_FEW = 6
"""Minimum number of letters for scripts that are judged without words; with fewer, shares are unreliable."""
_MANY = 30
_LEAST_OF_FEW = 0.5
"""The share of frequent characters required of Chinese with fewer than 30: any two bytes are some character."""
_ACCENTED = re.compile(r"[^\W\d_\x00-\x7f]{4}")
"""More letters outside of ASCII in a row than in any word in Latin script."""

# Languages in Latin script: the group that shares encodings, letters beyond a-z, and frequent words. Loan words add
# some letters to most of them.
_LATIN = {
    "English": (
        "western",
        "éëïöüç",
        "the of and to in is was he that it his for on with as had be at by not she her you this but are from or "
        "have an they my which one we all were there been their has would what will out when who him if so no me "
        "said your could into than them some do its then now only up about wrote price today thought left",
    ),
    "French": (
        "western",
        "àâæçéèêëîïôœùûüÿ",
        "le la les de des du et un une est que qui dans pour pas sur il elle au aux en ce ne se plus par avec son "
        "sa ses nous vous on mais où était à été être même très dès chez mon père les sont fait comme tout leur",
    ),
    "German": (
        "western",
        "äöüßéèêàâôç",
        "der die das und ist nicht ein eine in den von zu mit sich des auf für im dem nach er sie es ich über wird "
        "bei wie an als auch aber war hat man mehr wir so dort weiß können schön möchte",
    ),
    "Spanish": (
        "western",
        "áéíñóúü",
        "el la los las de del y que en un una es no se por con para su al lo como más pero sus le ya este sí fue "
        "está muy era él según qué dónde día mañana mi",
    ),
    "Portuguese": (
        "western",
        "áâãàçéêíóôõúü",
        "o a os as de do da dos das e que em um uma é não se por com para no na mais como mas ao à foi são você já "
        "também está os meus da pela sua seu ou muito",
    ),
    "Italian": (
        "western",
        "àèéìòùîó",
        "il la lo i gli le di del della e che in un una è non si per con come più ma sono ha al alla da dal nel "
        "perché così però già città vieni me qui tutto ciò può nessuno questo se di",
    ),
    "Catalan": (
        "western",
        "àçèéíïòóúü·",
        "el la els les de del i que en un una és no es per amb com més però són al ha va què",
    ),
    "Swedish": (
        "western",
        "åäöéüà",
        "och att det är en som på i av för med den till inte ett om de har jag han hon vi så från var kan när där "
        "över vad nästa år till går får",
    ),
    "Danish": (
        "western",
        "æøåéöäü",
        "og at det er en som på i af for med den til ikke et om de har jeg han hun vi så fra var kan når der over "
        "til næste år du få god går",
    ),
    "Finnish": (
        "western",
        "äöåšžé",
        "ja on ei se että hän oli mutta kun niin myös joka ovat mitä en minä sen tai kuin nyt yli vain me päivää",
    ),
    "Icelandic": (
        "western",
        "áðéíóúýþæö",
        "og að er í á ekki það sem en við til með um ég þú þetta hann hún var fyrir ekki hvað yfir mjög ert sé af",
    ),
    "Dutch": (
        "western",
        "éèêëïöüóáíçàâ",
        "de het een en van in is dat op te niet zijn met voor er aan ook als maar om dan hij zij wij naar bij één "
        "over hebben twee land klein later dag",
    ),
    "Polish": (
        "central",
        "ąćęłńóśźż",
        "i w na nie się z do że to jest o jak po co tak ale za od przez już był była jego są gdy tylko więc ma "
        "bardzo obok pod jesteśmy wiem powiedział",
    ),
    "Czech": (
        "central",
        "áčďéěíňóřšťúůýž",
        "a se v na je že to s z do o k by ale jako za po jsem jsou není od byl bylo tak už přes co pod pro před jen "
        "proto jsme velmi vedle který",
    ),
    "Slovak": (
        "central",
        "áäčďéíĺľňóôŕšťúýž",
        "a sa v na je že to s z do o k by ale ako za po som sú nie od bol bolo tak už cez čo pod pre pred len preto "
        "sme veľmi vedľa ktorý má môj",
    ),
    "Hungarian": (
        "central",
        "áéíóöőúüű",
        "a az és hogy nem is egy van meg de ez volt ki mi csak már el még ha mint aki azt vagy nagyon tegnap mellett "
        "ezért én őszi",
    ),
    "Croatian": (
        "central",
        "čćđšž",
        "i je u na da se su za od s ne što koji kao iz o ali bi to već po nije ili samo još gdje kraj pa smo sam vrlo "
        "došla znam",
    ),
    "Slovene": (
        "central",
        "čšž",
        "in je v na da se so za od s ne ki kot iz o ali bi to po ni pa samo še že kje smo sem zelo",
    ),
    "Romanian": (
        "central",
        "ăâîşţșț",
        "şi și de la în a cu pe nu o că este un din pentru ce mai se sunt care au lui nostru noastră fost era așa "
        "aşa peste lângă s-a dar sa spre",
    ),
    "Turkish": (
        "turkish",
        "çğıiöşüâîû̇",
        "ve bir bu da de için ile çok ne daha gibi ama o var olarak en sonra kadar şey ben değil olan bin yüzden dün "
        "gün güzel şehre şehirdir olduğunu",
    ),
    "Estonian": (
        "baltic",
        "äõöüšž",
        "ja on ei et see ta oli mis kui ma ka oma aga siis üle ning nii mida või kõrval aastal ma",
    ),
    "Lithuanian": (
        "baltic",
        "ąčęėįšųūž",
        "ir yra kad į ne su iš tai kas jis ji bet už apie buvo kaip per tik dar jau labai todėl mes šalia vakar",
    ),
    "Latvian": (
        "baltic",
        "āčēģīķļņšūž",
        "un ir ka ar uz no par tas kas viņš bet es nav bija kā pie vai lai arī ļoti jau esam mēs tāpēc vakar blakus",
    ),
}

# For the other scripts, by the beginning of the Unicode names of their letters: letters that make up most of any
# text. In the right encoding they are at least the share `least` of all letters; in a wrong one all are alike.
_SHARES: dict[str, tuple[float, str]] = {
    "CYRILLIC": (0.52, "оеаинтсрвлдкмпіј"),
    "GREEK": (0.55, "αοιετσνηυρπκμςά"),
    "HEBREW": (0.55, "יוהלארתמבש"),
    "ARABIC": (0.7, "اليمنوربتدهةأعسفقكحىی"),
    "THAI": (0.7, "านรกเงมยลวดทสตะปบคหแพอั่้ิี"),
    "HANGUL": (
        0.25,
        "이다는에의을가고하지은를한도로사서기어아자대나인리시그일전보정수제부해구장과주스있들라상원면니여용어무안소비"
        "었했것게요성동경신오러우만려문책말습세없때저",
    ),
    "CJK": (
        0.3,
        "的一是不了在人有我他这這个個们們中来來上大为為和国國地到以说說时時要就出会會可也你对對生能而子那得于於着著下自之"
        "年过過发發后後作里裡用道行所然家种種事成方多经經么麼去法学學如都同现現当當没沒动動面起看定天分还還进進好小部其些"
        "主样樣理心她本前开開但因只从從想日月明书書边邊很已睡女走城昨晚什累言语語预預测測词詞模型斯公西尔名区南任被军北民"
        "员东特克与长第并该位市建德最站高车工州政美新加由风山共文海间利内路通电赛委联将运入此机立表设亚拉外度布业平等三世"
        "形代合全安制及场期次坑组院米物至向重罗马两体称线党科队格教计使县者总系接省达战产统二点社约比气化",
    ),
    "HIRAGANA": (0.45, "のにはをたがでてとしれさいなるかまもすうこりられんつくだ"),
}
_VOWELS = {
    "CYRILLIC": ((0.33, "аеёиоуыэюяіїєўј"),),
    "GREEK": ((0.4, "αάεέηήιίοόυύωώϊϋΐΰ"),),
}
"""Letters that must also have at least this share."""
_TOGETHER = {
    "CJK": ("CJK",),
    "HANGUL": ("HANGUL",),
    "HIRAGANA": ("HIRAGANA", "KATAKANA", "CJK"),
}
"""Scripts that are mixed without spaces, also with letters of ASCII."""
_MIXED = re.compile("[A-Za-z][\u0370-\u0eff]|[\u0370-\u0eff][A-Za-z]")
"""Letters of two scripts in one word."""
_NOT_THAI = re.compile("[ฃฅ]|[เ-ไ](?![ก-ฮ])|(?<![ก-ฮัิ-ู็-๎])[ัิ-ู็-๎]")
"""Letters that no longer exist, a vowel without its consonant, a mark on nothing."""
_NOT_ARABIC = re.compile("(?<![\u0620-\u0652])[\u064b-\u0652]")
"""A mark on nothing."""
_CASED = ("CYRILLIC", "GREEK", "LATIN")


@dataclass(frozen=True)
class Evidence:
    """How well a text fits a language.

    words: in Latin script, the number of its frequent words; in others, of lines that begin with a capital.
    letters: the number of letters outside of ASCII, on which `fits` is based.
    """

    fits: bool
    words: int = 0
    letters: int = 0


def evidence(text: str, group: str) -> Evidence:
    """The evidence that a text is in a language; letters of ASCII carry none.

    group: a script, by Unicode's name, or for Latin script a group of languages: western, central, baltic, turkish.
    """
    letters = Counter(c for c in text if c > "\x7f" and c.isalpha())
    scripts = Counter[str]()
    for letter, count in letters.items():
        scripts[_script(letter)] += count
    total = sum(letters.values())
    if not total and group != "western":
        return Evidence(False)
    script = group if group in _SHARES else "LATIN"
    own = sum(
        count for letter, count in letters.items() if _script(letter) in _TOGETHER.get(script, (script,))
    )
    if own < (1 - _RARE_SHARE) * total or _odd_case(text, script):
        return Evidence(False)
    if script == "LATIN":
        return _latin(text, letters, total, group)
    return _of_script(text, letters, script)


def _of_script(text: str, letters: Counter[str], script: str) -> Evidence:
    least, frequent = _SHARES[script]
    if script == "THAI":  # in Unicode, its vowels and tones are not letters
        letters = Counter(c for c in text if "\u0e00" <= c <= "\u0e7f")
    counted = Counter({c.lower(): n for c, n in letters.items() if _script(c) == script})
    size = sum(counted.values())
    mixed = len(_MIXED.findall(text)) if script not in _TOGETHER else 0
    if size < _FEW or mixed > _RARE_SHARE * size or _NOT_THAI.search(text) or _NOT_ARABIC.search(text):
        return Evidence(False)
    if script == "CJK" and size < _MANY:
        least = _LEAST_OF_FEW
    shares = [(least, frequent), *_VOWELS.get(script, ())]
    fits = all(sum(counted[c] for c in set(wanted)) >= share * size for share, wanted in shares)
    capitals = sum(line[:1].isupper() for line in text.split("\n")) if script in _CASED else 0
    return Evidence(fits, capitals, size)


def _latin(text: str, letters: Counter[str], total: int, group: str) -> Evidence:
    words = Counter(word.lower() for word in _WORD.findall(text))
    best: int | None = None
    plain = sum(c.isascii() and c.isalpha() for c in text)
    if total > plain or len(_ACCENTED.findall(text)) > _RARE_SHARE * total:
        return Evidence(False)
    for own_group, alphabet, frequent in _LATIN.values():
        if own_group != group:
            continue
        outside = sum(count for letter, count in letters.items() if not set(letter.lower()) <= set(alphabet))
        if outside <= _RARE_SHARE * total:
            hits = sum(words[word] for word in set(frequent.split()))
            best = hits if best is None else max(best, hits)
    return Evidence(best is not None, best or 0, total)


def _odd_case(text: str, script: str) -> bool:
    """Whether letters outside of ASCII are capitals after lower-case letters, or nearly all are capitals."""
    if script not in _CASED:
        return False
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    odd = sum(any(a.islower() and b.isupper() for a, b in pairwise(word)) for word in words)
    shouted = sum(word.isupper() and len(word) > 1 for word in words)
    return odd > _RARE_SHARE * len(words) or 2 * shouted > len(words)


def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").split()[0].split("-")[0]
