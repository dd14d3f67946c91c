"""`lmkit generate` and `lmkit eval`: what they ask of the model and what they print."""

import json
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has a run, `run`, as far as the command line looks at it."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run", "lmkit.json").write_text("{}")


def test_generate_grows_the_options_of_its_decoder(lmkit, api):
    """--decoder decides which options the line has; sample is the default."""
    result = lmkit("generate", "run", "--prompt", "Hello", "--temperature", 0.8, "--num", 2, "--seed", 3)
    assert result.stdout == "Hello world\nHello world\n"
    assert (api.last.decoder.name, api.last.decoder.options.temperature) == ("lmkit:sample", 0.8)
    assert (api.last.num, api.last.seed, api.last.max_tokens) == (2, 3, 50)
    refused = lmkit("generate", "run", "--decoder", "greedy", "--temperature", 0.8)
    assert (refused.exit_code, "No such option '--temperature'" in refused.stderr) == (2, True)


def test_generate_json_has_the_log_probability(lmkit):
    """--json is a list of texts with their log-probabilities."""
    assert json.loads(lmkit("generate", "run", "--json").stdout) == [
        {"prompt": "", "text": " world", "log_prob": -1.5}
    ]


def test_generate_help_lists_the_decoder(lmkit):
    """The decoder's options have a section, and the other decoders are named."""
    text = lmkit("generate", "--help").stdout
    assert "Options of decoder sample:" in text
    assert "Decoders: greedy, sample." in text


def test_unknown_words_of_a_prompt_are_named(lmkit):
    """Words that the model cannot read are said on stderr, each once; known ones are not."""
    result = lmkit("generate", "run", "--prompt", "zzz Hello zzz")
    assert (result.stdout, "does not know 'zzz';" in result.stderr) == ("zzz Hello zzz world\n", True)
    assert lmkit("generate", "run", "--prompt", "Hello").stderr == ""


def test_a_space_after_the_prompt_is_not_doubled(lmkit, api):
    """The space that a tokenizer of words drops and writes again is printed once; a real one stays."""
    assert lmkit("generate", "run", "--prompt", "Hello ").stdout == "Hello world\n"
    assert json.loads(lmkit("generate", "run", "--prompt", "Hello ", "--json").stdout)[0]["text"] == "world"
    api.tokenizer.lossless = True
    assert lmkit("generate", "run", "--prompt", "Hello ").stdout == "Hello  world\n"


def test_the_prompt_may_be_a_file(lmkit, api, tmp_path):
    """--prompt-file reads a file or standard input, without the last line end."""
    path = tmp_path / "prompt.txt"
    path.write_bytes("one\r\ncafé\n".encode())
    assert lmkit("generate", "run", "--prompt-file", path).stdout == "one\ncafé world\n"
    assert lmkit("generate", "run", "--prompt-file", "-", stdin="Hello\n").stdout == "Hello world\n"
    path.write_bytes(b"caf\xe9")
    assert "byte 3 is not UTF-8" in lmkit("generate", "run", "--prompt-file", path).stderr
    assert lmkit("generate", "run", "--prompt-file", tmp_path / "absent").exit_code == 3
    assert lmkit("generate", "run", "--prompt-file", path, "--prompt", "x").exit_code == 2


def test_eval_reads_standard_input(lmkit, api):
    """`-` is the text of standard input; messages about it do not name a file."""
    assert lmkit("eval", "run", "-", stdin="one\ntwo\n").exit_code == 0
    assert api.last.lines == ["one", "two"]
    result = lmkit("eval", "run", "-", stdin=b"one\ncaf\xe9\n")
    assert (result.exit_code, "error: standard input: line 2" in result.stderr) == (3, True)
    assert lmkit("eval", "run", "-", stdin="").exit_code == 3


def test_eval_passes_the_data_options(lmkit, api, tmp_path):
    """The options of reading are eval's too."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9\n")
    result = lmkit("eval", "run", path, path, "--encoding", "latin-1", "--batch-size", 4)
    assert result.stdout == "perplexity  9.500\n"
    assert (api.last.lines, api.last.batch_size) == (["café", "café"], 4)
    line = ("eval", "run", path, "--encoding", "latin-1", "--json")
    assert json.loads(lmkit(*line).stdout) == {"perplexity": 9.5}
    assert lmkit("eval", "run", path).exit_code == 3


def test_eval_needs_text(lmkit):
    """A score without text is a usage error."""
    assert lmkit("eval", "run").exit_code == 2
