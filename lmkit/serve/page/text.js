// The words of the page in each language.

const TEXTS = {
  en: {
    intro: "Type a line, and see what each model fills in, what it depends on, and how far back it remembers.",
    skip: "Skip to the views",
    views: "Views",
    otherLanguage: "中文",
    token: "This server asks for a token",
    enter: "Enter",
    models: "Models",
    parameters: "parameters",
    tabFill: "Fill a blank",
    tabContext: "Context",
    tabSurprisal: "Surprisal",
    tabWrite: "Write",
    hintFill: "Write ____ for the blank. Red words support the best answer, blue words contradict it: the model is asked again without each.",
    line: "A line with a blank",
    candidates: "Candidates, separated by commas (empty: the models propose)",
    hintContext: "Each model reads only the last tokens of the text, as many as the slider says, and predicts the next. An n-gram of order N uses at most N − 1 of them.",
    beginning: "Beginning of a text",
    context: "Tokens of context:",
    axis: "tokens of context",
    watch: "Watch this next token (empty: the most probable after the whole text)",
    hintSurprisal: "Red units were unexpected. Choose one to see what the model expected in its place.",
    text: "Text",
    unit: "Unit",
    byWord: "words",
    byToken: "tokens",
    byChar: "characters",
    hintWrite: "Each model continues the text, token by token.",
    temperature: "Temperature:",
    tokens: "Maximum number of tokens",
    seed: "Seed (empty: another text each time)",
    start: "Write",
    stop: "Stop",
    examples: "Examples",
    answer: "answer",
    share: "share of these",
    next: "next token",
    probability: "probability",
    word: "word",
    cost: "cost of leaving it out, nats",
    bits: "bits",
    entropy: "entropy",
    unknown: "unknown words",
    wordsTable: "The words and their costs as a table",
    unitsTable: "The units and their bits as a table",
    lineEnd: "end of line",
    needsBlank: "Write ____ where the blank is, once.",
    needsText: "Type a text.",
    working: "Asking the models …",
    explaining: "Asking again without each word …",
    ready: "The models have answered.",
    partly: "Some models could not answer.",
    noModel: "Choose a model.",
    everything: "all",
    read: "Tokens read:",
    chart: "Probability of the watched token by tokens of context: ",
    chartTable: "The chart as a table",
    notSeen: "not among its likely tokens",
    twoSided: "a score of both sides, not a probability",
    strongest: "The strongest colour means",
    nats: "nats",
    expected: "What was expected in place of: ",
    surprisalOf: "surprisal",
    stopped: "stopped",
    failed: "Failed:",
    gone: "The server does not answer. Is lmkit serve still running?",
    encoder: "This model reads both sides of a blank and has no next token. It fills in blanks.",
    cannot: "This model cannot do this.",
  },
  zh: {
    intro: "输入一句话，看每个模型填什么、依据哪些词、能记住多远。",
    skip: "跳到内容",
    views: "视图",
    otherLanguage: "English",
    token: "服务器需要令牌",
    enter: "确定",
    models: "模型",
    parameters: "参数",
    tabFill: "填空",
    tabContext: "上下文",
    tabSurprisal: "意外度",
    tabWrite: "续写",
    hintFill: "用 ____ 表示空格。红色的词支持最佳答案，蓝色的词反对它：逐个去掉每个词后再问模型。",
    line: "带空格的句子",
    candidates: "候选答案，用逗号分开（留空则由模型提出）",
    hintContext: "每个模型只读文本最后的几个词元（由滑块决定），再预测下一个。N 元模型最多用到其中的 N − 1 个。",
    beginning: "文本开头",
    context: "上下文的词元数：",
    axis: "上下文的词元数",
    watch: "观察下一个词元（留空：读完全文后最可能的）",
    hintSurprisal: "红色的单位出乎意料。选一个，看模型在此处期待什么。",
    text: "文本",
    unit: "单位",
    byWord: "词",
    byToken: "词元",
    byChar: "字符",
    hintWrite: "每个模型逐个词元续写文本。",
    temperature: "温度：",
    tokens: "最多词元数",
    seed: "随机种子（留空：每次不同）",
    start: "续写",
    stop: "停止",
    examples: "例子",
    answer: "答案",
    share: "占候选的比例",
    next: "下一个词元",
    probability: "概率",
    word: "词",
    cost: "去掉它的代价（奈特）",
    bits: "比特",
    entropy: "熵",
    unknown: "未知词",
    wordsTable: "以表格显示词和代价",
    unitsTable: "以表格显示单位和比特",
    lineEnd: "行尾",
    needsBlank: "请用 ____ 标出空格，只标一处。",
    needsText: "请输入文本。",
    working: "正在询问模型……",
    explaining: "正在逐个去掉每个词后再问……",
    ready: "模型已回答。",
    partly: "有的模型未能回答。",
    noModel: "请选择一个模型。",
    everything: "全部",
    read: "已读词元：",
    chart: "所观察词元的概率随上下文词元数的变化：",
    chartTable: "以表格显示图表",
    notSeen: "不在它的可能词元之中",
    twoSided: "两个方向的得分，不是概率",
    strongest: "最强的颜色表示",
    nats: "奈特",
    expected: "此处期待的，实际为：",
    surprisalOf: "意外度",
    stopped: "已停止",
    failed: "失败：",
    gone: "服务器没有回应。lmkit serve 还在运行吗？",
    encoder: "这个模型读空格的两边，没有下一个词元。它能填空。",
    cannot: "这个模型做不到。",
  },
};

export const EXAMPLES = {
  fill: [
    "今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去____。",
    "没想到手机摔坏了，小李的包裹是新的，中午河边人很多，妈妈周末跑步了很久，今天天气很热，爸爸去饭馆聊天，所以我要去____。",
    "the park was busy early , my passport was expired , so i will ____ .",
  ],
  context: "没想到手机摔坏了，小李的包裹是新的，中午河边人很多，妈妈周末跑步了很久，今天天气很热，爸爸去饭馆聊天，所以我要去",
  surprisal: "今天天气很好，我去打球，不小心把手机摔坏了，所以我下午要去修手机。",
  write: "今天天气很好，",
};

const KEY = "lmkit-language";

function preferred() {
  try {
    const kept = localStorage.getItem(KEY);
    if (kept in TEXTS) return kept;
  } catch {
    // The browser keeps nothing.
  }
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

let language = preferred();

export const text = (key) => TEXTS[language][key];

// A large number in a few characters, as 11.2M or 1124.5万.
export const count = (number) => new Intl.NumberFormat(language, { notation: "compact", maximumFractionDigits: 1 }).format(number);

export function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
}

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  try {
    localStorage.setItem(KEY, language);
  } catch {
    // It is switched for this visit.
  }
  translate();
}
