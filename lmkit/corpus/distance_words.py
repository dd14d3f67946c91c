"""The words of the distance task, in two languages: causes, consequences and clauses in between."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Triple:
    """An object, its bad state, and the consequence; words are separated by spaces.

    transitive: somebody can bring the object into the state, so the cause may be an action.
    """

    object: str
    state: str
    consequence: str
    transitive: bool


@dataclass(frozen=True)
class Language:
    """Templates of clauses: {o} is an object and {p} its state, other letters in braces are `fillers`.

    deeds: causes for transitive triples. neutral: clauses that mention an object in no bad state. scenes: clauses
    without one. conclusions: words before the consequence. because: the first word of a cause after it.
    held_out: clauses only in the test part.
    """

    triples: tuple[Triple, ...]
    causes: tuple[str, ...]
    deeds: tuple[str, ...]
    neutral: tuple[str, ...]
    scenes: tuple[str, ...]
    so: str
    because: str
    conclusions: tuple[str, ...]
    comma: str
    stop: str
    fillers: Mapping[str, tuple[str, ...]]
    held_out: frozenset[str] = frozenset()


def _triples(lines: str) -> tuple[Triple, ...]:
    """One per line, with bars between the parts; a final + marks it as transitive."""
    found = []
    for line in lines.strip().splitlines():
        thing, state, consequence = line.removesuffix("+").split("|")
        found.append(Triple(thing, state, consequence, line.endswith("+")))
    return tuple(found)


def _lines(lines: str) -> tuple[str, ...]:
    return tuple(lines.strip().splitlines())


CHINESE = Language(
    triples=_triples("""
手机|摔坏 了|修 手机+
电脑|摔坏 了|修 电脑+
眼镜|摔碎 了|配 眼镜+
钥匙|弄丢 了|配 钥匙+
钱包|弄丢 了|取 钱+
包裹|寄到 了|取 包裹
衣服|弄脏 了|洗 衣服+
盘子|弄脏 了|洗 盘子+
鞋子|穿破 了|买 鞋+
冰箱|空 了|买 菜
牙齿|疼 了|看 牙医
猫|生病 了|看 兽医
电影|上映 了|看 电影
肚子|饿 了|吃 饭
嗓子|干 了|喝 水
汽车|没油 了|加 油
自行车|没气 了|打 气
头发|太长 了|理 发
书|到期 了|还 书
房租|到期 了|交 房租
护照|过期 了|办 护照
水管|漏水 了|找 水管工
孩子|放学 了|接 孩子
作业|忘 了|写 作业
"""),
    causes=_lines("""
{o} {p}
我 的 {o} {p}
没 想到 {o} {p}
"""),
    deeds=_lines("""
不小心 把 {o} {p}
我 把 {o} {p}
"""),
    neutral=_lines("""
{o} 没问题
{o} 很 好看
我 的 {o} 还 很 好
{a} 的 {o} 是 新 的
{a} 在 {l} 看见 {o}
{a} 说 {o} 很 便宜
{a} 把 {o} 放 在 {l}
"""),
    scenes=_lines("""
{t} 天气 很 {j}
{a} 去 {v}
{a} 去 {l} {v}
{a} {t} 在 {l} {v}
{t} {l} 人 很 多
{a} 和 {a} 一起 {v}
{a} 觉得 {l} 很 {j}
{a} {t} {v} 了 很 久
{a} 说 {t} 很 {j}
"""),
    so="所以",
    because="因为",
    conclusions=_lines("""
去
我 要 去
我 {f} 要 去
"""),
    comma="，",
    stop="。",
    fillers={
        "a": ("我", "你", "他", "她", "妈妈", "爸爸", "老师", "同学", "邻居", "小王", "小李", "奶奶"),
        "l": (
            "公园",
            "学校",
            "家里",
            "商场",
            "车站",
            "图书馆",
            "操场",
            "海边",
            "办公室",
            "饭馆",
            "河边",
            "广场",
        ),
        "t": ("今天", "昨天", "早上", "中午", "晚上", "周末", "刚才", "前天"),
        "f": ("下午", "等会儿", "明天"),
        "j": ("好", "热", "冷", "安静", "漂亮", "有趣", "舒服", "糟糕"),
        "v": ("打球", "跑步", "聊天", "唱歌", "跳舞", "画画", "散步", "喝茶", "下棋", "拍照", "游泳", "钓鱼"),
    },
    held_out=frozenset(("今天 天气 很 好", "我 去 打球")),
)

ENGLISH = Language(
    triples=_triples("""
phone|broken|repair the phone+
laptop|broken|repair the laptop+
glasses|bent|order new glasses+
key|lost|order another key+
purse|lost|withdraw some cash+
parcel|delivered|collect the parcel
shirt|dirty|wash the shirt+
plate|dirty|wash the plate+
shoes|torn|buy new shoes+
fridge|empty|buy some vegetables
tooth|painful|see the dentist
cat|sick|see the vet
film|released|see the film
stomach|hungry|eat some food
throat|dry|drink some water
car|thirsty|get some petrol
bicycle|flat|pump the tyre
hair|long|get a haircut
book|overdue|return the book
rent|overdue|pay the rent
passport|expired|renew the passport
pipe|leaking|call a plumber
child|alone|fetch the child
homework|unfinished|write the homework
"""),
    causes=_lines("""
the {o} was {p}
my {o} was {p}
it turned out that my {o} was {p}
"""),
    deeds=_lines("""
i got my {o} {p}
by accident i got the {o} {p}
"""),
    neutral=_lines("""
the {o} was not a problem
the {o} looked nice
my {o} was still fine
{a} had a new {o}
{a} saw a {o} at the {l}
{a} said that the {o} was cheap
{a} put the {o} in the {l}
"""),
    scenes=_lines("""
{t} the weather was {j}
{a} went to {v}
{a} went to the {l} to {v}
{t} {a} liked to {v}
the {l} was busy {t}
{a} and {a} liked to {v}
{a} found the {l} {j}
{a} said that it was {j} {t}
"""),
    so="so",
    because="because",
    conclusions=_lines("""
i will
i am going to
{f} i am going to
"""),
    comma=",",
    stop=".",
    fillers={
        "a": (
            "he",
            "she",
            "mother",
            "father",
            "teacher",
            "neighbour",
            "tom",
            "mary",
            "john",
            "anna",
            "peter",
            "grandmother",
        ),
        "l": (
            "park",
            "school",
            "house",
            "mall",
            "station",
            "library",
            "garden",
            "beach",
            "office",
            "restaurant",
            "river",
            "square",
        ),
        "t": ("today", "yesterday", "early", "late", "recently", "earlier"),
        "f": ("afterwards", "soon", "tomorrow"),
        "j": ("good", "hot", "cold", "quiet", "pretty", "funny", "pleasant", "awful"),
        "v": (
            "jog",
            "run",
            "chat",
            "sing",
            "dance",
            "paint",
            "walk",
            "relax",
            "swim",
            "fish",
            "play",
            "read",
        ),
    },
)

LANGUAGES = {"zh": CHINESE, "en": ENGLISH}
